"""The way out of one connection: what is written in one turn of the event loop leaves with one send."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from config.frames import text_header

HIGH_WATER = 65_536  # bytes that may wait for the client; Twisted's own mark for its buffer (FileDescriptor.bufferSize)


class Turn:
    """The connections that have written something in this turn of the event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._waiting: list[Outgoing] = []

    def add(self, outgoing: "Outgoing") -> None:
        """Flush this connection at the end of the turn."""
        if not self._waiting:
            self.loop.call_soon(self._flush)
        self._waiting.append(outgoing)

    def _flush(self) -> None:
        waiting, self._waiting = self._waiting, []
        for outgoing in waiting:
            outgoing.flush()


class Outgoing:
    """What waits to be sent to one client, and whether it may become more.

    A push producer in Twisted's sense: the transport says when its buffer is above the mark and when
    it is empty again.
    """

    __slots__ = ("_is_clogged", "_on_writable", "_transport", "_turn", "_unsent", "_unsent_bytes")

    def __init__(self, transport: Any, turn: Turn, on_writable: Callable[[], None]) -> None:
        self._transport = transport  # Twisted's TCP transport
        self._turn = turn
        self._unsent: list[bytes] = []  # what was written in this turn of the loop
        self._unsent_bytes = 0
        self._is_clogged = False  # whether the transport holds more than the high-water mark
        self._on_writable = on_writable  # called when the backlog has drained

    def add_texts(self, payloads: Sequence[bytes]) -> None:
        """Send these texts uncompressed, one frame each."""
        unsent = self._unsent
        if not unsent:
            self._turn.add(self)
        for payload in payloads:
            size = len(payload)
            unsent += (text_header(size), payload)
            self._unsent_bytes += size

    def add(self, data: bytes) -> None:
        """Send these bytes, which are whole frames or part of the handshake."""
        if not self._unsent:
            self._turn.add(self)
        self._unsent.append(data)
        self._unsent_bytes += len(data)

    @property
    def is_writable(self) -> bool:
        """Whether less than the high-water mark waits for the client."""
        return not self._is_clogged and self._unsent_bytes <= HIGH_WATER

    @property
    def backlog(self) -> int:
        """The bytes that the transport has taken and not yet sent."""
        transport = self._transport
        waiting: int = len(transport.dataBuffer) - transport.offset + transport._tempDataLen  # noqa: SLF001  not public
        return waiting

    def flush(self) -> None:
        """Send at once what the kernel takes, and leave the rest to the transport.

        Twisted alone waits until epoll calls the socket writable: two changes of the epoll set and a turn of the loop
        for every write. One send for all frames of a turn instead of one each is what pays most under load.
        """
        if not self._unsent:
            return
        was_writable = self.is_writable
        data = b"".join(self._unsent)
        self._unsent.clear()
        self._unsent_bytes = 0
        if not self.backlog and self._transport.connected and not self._transport.disconnecting:
            sent = self._transport.writeSomeData(data)
            if isinstance(sent, int):  # else it is the error, which the transport will meet again
                data = data[sent:]
        self._transport.write(data)
        if not was_writable:
            self._tell_writable()

    def _tell_writable(self) -> None:
        if self.is_writable:
            self._turn.loop.call_soon(self._on_writable)  # a turn of its own: an error in it is not the transport's

    def pauseProducing(self) -> None:  # noqa: N802  Twisted's name
        """The transport's buffer is above its mark."""
        self._is_clogged = True

    def resumeProducing(self) -> None:  # noqa: N802  Twisted's name
        """The transport's buffer is empty again."""
        self._is_clogged = False
        self._tell_writable()

    def stopProducing(self) -> None:  # noqa: N802  Twisted's name
        """The transport is gone."""
