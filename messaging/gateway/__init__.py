"""The socket: its connection, its authentication, its outbox."""
