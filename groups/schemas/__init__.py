"""The groups app's requests, replies and events; a reply is also the event that the others get."""
