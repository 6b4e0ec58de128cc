"""Which of the two ways to read and write rows this database wants."""

from __future__ import annotations

from functools import lru_cache

from django.db import connection

from messaging.delivery.rows import Rows
from messaging.delivery.rows_portable import PortableRows
from messaging.delivery.rows_postgres import PostgresRows


@lru_cache(maxsize=1)
def rows() -> Rows:
    """Return the rows of the default database; its statements are composed once."""
    return PostgresRows() if connection.vendor == "postgresql" else PortableRows()
