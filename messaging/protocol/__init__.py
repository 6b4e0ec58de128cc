"""The wire protocol as plain values: envelope, request registry, errors, close codes; no Django and no I/O."""
