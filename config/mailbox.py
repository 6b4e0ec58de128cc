"""The events that wait for one connection's application."""

import asyncio
from collections.abc import Callable
from typing import Any

Event = dict[str, Any]

FULL_AT = 64  # events; from here on nothing more is read from the socket
EMPTY_ENOUGH_AT = 16  # events; from here on it is read again
FULL_AT_BYTES = 1_048_576  # the same in bytes of frames: 64 of the largest frames would be too much for a small machine
EMPTY_ENOUGH_AT_BYTES = 262_144


class Mailbox:
    """A queue for one reader that says when it is full and when it has room again.

    It never refuses an event: whoever puts them looks at `is_full` and stops reading from the socket, since the queue
    of a client that floods would otherwise grow without limit.
    """

    __slots__ = ("_bytes", "_events", "_on_room", "_reader", "is_full")

    def __init__(self, on_room: Callable[[], None]) -> None:
        # Each with the size of its frame. A list, as there are never many: an empty deque takes 0.6 KiB.
        self._events: list[tuple[Event, int]] = []
        self._bytes = 0  # of all frames that wait
        self._on_room = on_room  # called when a full mailbox has room again
        self._reader: asyncio.Future[None] | None = None  # set while the application waits
        self.is_full = False

    def put_nowait(self, event: Event, size: int = 0) -> None:
        """Add an event, with the size of the frame that it holds, and wake the application."""
        self._events.append((event, size))
        self._bytes += size
        if len(self._events) >= FULL_AT or self._bytes >= FULL_AT_BYTES:
            self.is_full = True
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)

    async def receive(self) -> Event:
        """The oldest event, once there is one: the `receive` of ASGI."""
        while not self._events:
            self._reader = asyncio.get_running_loop().create_future()
            try:
                await self._reader
            finally:
                self._reader = None
        event, size = self._events.pop(0)
        self._bytes -= size
        if self.is_full and len(self._events) <= EMPTY_ENOUGH_AT and self._bytes <= EMPTY_ENOUGH_AT_BYTES:
            self.is_full = False
            self._on_room()
        return event
