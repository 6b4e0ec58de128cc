"""How durable events are written, kept and brought to sockets: encryption, log, writer, hub."""
