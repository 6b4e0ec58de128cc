"""The wire protocol as plain values: envelope, request registry, errors and close codes, without Django and without I/O."""
