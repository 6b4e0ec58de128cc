"""What the groups app does, in plain synchronous Django: one module for each noun.

A `caller` of None is a moderator of the service: they may do what an owner may, and are nobody's `by`.
"""
