"""Commands of the messaging app."""
