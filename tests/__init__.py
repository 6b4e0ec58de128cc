"""Tests of the service, against the real server on SQLite and on PostgreSQL with Redis."""
