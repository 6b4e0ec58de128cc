"""Who is online, on top of messaging."""
