"""Groups and communities, on top of messaging."""
