"""Looking into the database from an asynchronous test, between two frames."""

import asyncio
from collections.abc import Callable
from typing import TypeVar

from django.db import connection

T = TypeVar("T")


async def in_database(work: Callable[[], T]) -> T:
    """Return what some synchronous database work returns, done on a thread with a connection of its own."""

    def done() -> T:
        try:
            return work()
        finally:
            connection.close()

    return await asyncio.to_thread(done)
