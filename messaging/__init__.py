"""Direct messages and what every conversation shares: the ground floor."""
