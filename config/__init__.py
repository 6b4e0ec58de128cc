"""Wiring of the service: settings, checks, URLs, routing and the server. Nothing imports this package."""
