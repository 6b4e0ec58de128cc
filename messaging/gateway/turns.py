"""Taking turns at what keeps a thread busy for long, so that other requests find threads and processor."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from messaging.delivery.doors import DEADLINE_SECONDS
from messaging.protocol.errors import ServerBusy


class Turns:
    """At most so many at once; the others wait in the order of their coming, and not for ever."""

    def __init__(self, *, most: int) -> None:
        """Let `most` go at a time."""
        self._free = asyncio.Semaphore(most)

    @asynccontextmanager
    async def one(self) -> AsyncIterator[None]:
        """Hold a turn during the block.

        Raises:
            ServerBusy: too many others were before it.

        """
        try:
            async with asyncio.timeout(DEADLINE_SECONDS):
                await self._free.acquire()
        except TimeoutError as error:
            raise ServerBusy("too many requests of this kind are waiting") from error
        try:
            yield
        finally:
            self._free.release()
