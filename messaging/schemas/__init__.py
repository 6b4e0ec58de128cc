"""Messaging's requests, replies and events: camelCase on the wire, every string and number bounded."""
