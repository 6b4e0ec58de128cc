"""One WebSocket connection: daphne's protocol with a short path for the frames that make up nearly all traffic.

autobahn stays responsible for the handshake and for all frames that are not simple (RFC 6455); `config.frames` says
what is. The connection is also the gateway's `Transport`.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from time import monotonic
from typing import Any

from autobahn.websocket.types import ConnectionDeny
from daphne.ws_protocol import WebSocketProtocol

from config.deflate import COMPRESS_FROM, SlimDeflate, compress
from config.frames import COMPRESSED_TEXT, next_text, text_header
from config.mailbox import Event, Mailbox
from messaging.gateway import lifecycle

logger = logging.getLogger(__name__)

HIGH_WATER = 65_536  # bytes that may wait for the client; Twisted's own mark for its buffer (FileDescriptor.bufferSize)
CLOSE_TIMEOUT = 5  # seconds for the client to answer our close frame and to take what is still on its way to it

_CLOSED_WITHOUT_CODE = 1005  # RFC 6455 section 7.1.5: the client's close frame held no code
_SILENT = 4408

# Who wants nothing read from the socket.
_GATEWAY = 1
_MAILBOX = 2


class ChatProtocol(WebSocketProtocol):  # type: ignore[misc]  # daphne has no types
    """The server's end of one WebSocket connection, and the gateway's `Transport`."""

    server: Any = None  # the ChatServer, once the handshake was understood
    application_queue: Mailbox
    # autobahn's own state.
    data: bytes  # received and not yet worked off
    _perMessageCompress: Any  # noqa: N815  the negotiated compression, or None

    turn: "Turn"  # who flushes what is written in this turn of the loop

    # State of one connection; the class holds what is true of most, which keeps idle connections small.
    _holds = 0  # who keeps us from reading
    _heard_at = 0.0  # monotonic time at which the client last sent anything
    _pinged = False  # whether a ping went out since then
    _told_of_silence = False  # whether the application knows that the keep-alive time is over
    _clogged = False  # whether the transport holds more than the high-water mark
    _unsent: list[bytes]  # what was written in this turn of the loop
    _unsent_bytes = 0
    _on_writable: Callable[[], None] | None = None

    # Compared and hashed by identity as daphne does it, but without a call into Python.
    __hash__ = object.__hash__
    __eq__ = object.__eq__

    @classmethod
    def for_factory(cls, factory: Any, turn: "Turn") -> type["ChatProtocol"]:
        """A subclass that has the factory's options as class attributes.

        autobahn otherwise copies some thirty options to every connection, and formats them for a log line besides.
        """
        options = {name: getattr(factory, name) for name in cls.CONFIG_ATTRS}
        accept_compression = staticmethod(options.pop("perMessageCompressionAccept"))
        return type(
            cls.__name__,
            (cls,),
            {**options, "perMessageCompressionAccept": accept_compression, "CONFIG_ATTRS": [], "turn": turn},
        )

    def __init__(self) -> None:
        super().__init__()
        self._unsent = []

    # Life of the connection, called by autobahn and daphne.

    def onConnect(self, request: Any) -> Any:  # noqa: N802  autobahn's name
        """Start the application, unless the server is stopping."""
        self._heard_at = monotonic()
        if lifecycle.is_draining():
            raise ConnectionDeny(code=503, reason="Service Unavailable")  # type: ignore[no-untyped-call]  # autobahn's types are partial
        return super().onConnect(request)

    def onOpen(self) -> None:  # noqa: N802  autobahn's name
        """Take the place of the HTTP protocol that the connection began with."""
        if self._perMessageCompress is not None:
            self._perMessageCompress = SlimDeflate.instead_of(self._perMessageCompress)
        self.transport.unregisterProducer()
        self.transport.registerProducer(self, streaming=True)
        self.transport.resumeProducing()
        super().onOpen()

    def onClose(self, wasClean: bool, code: int | None, reason: str | None) -> None:  # noqa: ARG002, FBT001, N802, N803  autobahn's signature
        """Tell the application that the connection has ended."""
        if self.server is None:  # the handshake was refused before there was an application
            return
        self.server.protocol_disconnected(self)
        self.tell({"type": "websocket.disconnect", "code": _CLOSED_WITHOUT_CODE if code is None else code})
        self._on_writable = None

    def application_ended(self, application: asyncio.Future[None]) -> None:
        """Close a connection that nobody serves any longer."""
        failed = application.cancelled() or application.exception() is not None
        self.close(1011 if failed else 1000)

    def check_timeouts(self) -> None:
        """Ping a client that is silent, and part from one that stays so; called every few seconds."""
        if self.state == self.STATE_CONNECTING:
            if self.duration() > self.server.websocket_connect_timeout:
                self.close(_SILENT)
        elif self.state == self.STATE_OPEN and not self._holds:
            self._check_silence(monotonic() - self._heard_at)

    def _check_silence(self, silence: float) -> None:
        limit = self.server.keep_alive_timeout
        if silence < limit / 2:
            self._pinged = self._told_of_silence = False
        elif silence < limit:
            if not self._pinged:
                self._pinged = True
                self.sendPing()
        elif self._told_of_silence:
            self.close(_SILENT)
        else:
            self._told_of_silence = True
            self.tell({"type": "chat.silent"})

    # From the client.

    def dataReceived(self, data: bytes) -> None:  # noqa: N802  Twisted's name
        """Take what the socket had."""
        self._heard_at = monotonic()
        self.data += data
        if self.state == self.STATE_CONNECTING and self.server is not None:
            # The application has not accepted yet: what comes early waits, and no more is read.
            self.transport.pauseProducing()
        else:
            self.consumeData()

    def consumeData(self) -> None:  # noqa: N802  autobahn's name
        """Work off what was received, until it ends within a frame or somebody wants no more."""
        if self.state == self.STATE_CONNECTING:
            self.processHandshake()
            return
        while self.data and not self._holds and self.state in (self.STATE_OPEN, self.STATE_CLOSING):
            if self.state == self.STATE_OPEN and self.current_frame is None and not self.inside_message:
                self._take_texts()
            if self._holds or not self.processData():
                return

    def _take_texts(self) -> None:
        """Hand over all simple text frames at the beginning of what was received."""
        data, position, limit = self.data, 0, self.maxMessagePayloadSize
        while not self._holds:
            found = next_text(data, position, limit)
            if found is None:
                break
            payload, position = found
            if not _is_utf8(payload):
                self._invalid_payload("not UTF-8")
                break
            self._deliver({"type": "websocket.receive", "frame": payload})
        self.data = data[position:]

    def onMessage(self, payload: bytes, isBinary: bool) -> None:  # noqa: FBT001, N802, N803  autobahn's signature
        """Hand over a message that autobahn has put together."""
        if self.state == self.STATE_OPEN:
            self._deliver({"type": "websocket.receive", "bytes" if isBinary else "frame": payload})

    def tell(self, event: Event) -> None:
        """Let the application receive an event of the server's own."""
        if "application_queue" in vars(self):
            self.application_queue.put_nowait(event)

    def _deliver(self, event: Event) -> None:
        mailbox = self.application_queue
        mailbox.put_nowait(event)
        if mailbox.is_full:
            self._hold(_MAILBOX)

    def mailbox_has_room(self) -> None:
        """Read again, after so many frames waited for the application that reading had been stopped."""
        self._release(_MAILBOX)

    def pause_reading(self) -> None:
        """Take nothing more from the client until `resume_reading`; TCP then slows it down."""
        self._hold(_GATEWAY)

    def resume_reading(self) -> None:
        """Take frames from the client again."""
        self._release(_GATEWAY)

    def _hold(self, reason: int) -> None:
        if self.state == self.STATE_OPEN:
            self._holds |= reason
            self.transport.pauseProducing()

    def _release(self, reason: int) -> None:
        if not self._holds & reason:
            return
        self._holds &= ~reason
        if not self._holds:
            self._heard_at = monotonic()  # it could not be heard while nothing was read
            self.consumeData()
        if not self._holds and self.state in (self.STATE_OPEN, self.STATE_CLOSING):
            self.transport.resumeProducing()

    # To the client.

    def write(self, frames: Sequence[bytes]) -> None:
        """Send these texts, one frame each; what is written within one turn of the loop leaves in one piece."""
        if self.state != self.STATE_OPEN:
            return
        for frame in frames:
            self._write_text(frame)

    def _write_text(self, payload: bytes) -> None:
        first, size = 0x81, len(payload)
        if size >= COMPRESS_FROM and self._perMessageCompress is not None:
            payload = compress(payload, self._perMessageCompress.server_max_window_bits)
            first, size = COMPRESSED_TEXT, len(payload)
        self._queue(text_header(size, first))
        self._queue(payload)

    def sendData(self, data: bytes, sync: bool = False, chopsize: int | None = None) -> None:  # noqa: ARG002, FBT001, FBT002, N802  autobahn's signature
        """Send what autobahn has made, in line with everything else."""
        self._queue(data)

    def serverSend(self, content: str | bytes, binary: bool = False) -> None:  # noqa: FBT001, FBT002, N802  daphne's signature
        """Send what an ordinary ASGI application sends."""
        if isinstance(content, str):
            self.write([content.encode()])
        else:
            self.sendMessage(content, binary)

    def serverClose(self, code: int | None = None) -> None:  # noqa: N802  daphne's name
        """Close for an ordinary ASGI application."""
        self.close(1000 if code is None else code)

    def _queue(self, data: bytes) -> None:
        if not self._unsent:
            self.turn.add(self)
        self._unsent.append(data)
        self._unsent_bytes += len(data)

    def flush(self) -> None:
        """Give the transport what was written."""
        if not self._unsent:
            return
        data = b"".join(self._unsent)
        was_writable = self.is_writable
        self._unsent.clear()
        self._unsent_bytes = 0
        _send(self.transport, data)
        if not was_writable:
            self._tell_writable()

    @property
    def is_writable(self) -> bool:
        """Whether less than the high-water mark waits for the client to read it."""
        return not self._clogged and self._unsent_bytes <= HIGH_WATER

    def set_writable_callback(self, callback: Callable[[], None]) -> None:
        """Have this called each time the backlog has drained after `is_writable` was False."""
        self._on_writable = callback

    def _tell_writable(self) -> None:
        if self._on_writable is not None and self.is_writable:
            self._on_writable()

    def pauseProducing(self) -> None:  # noqa: N802  Twisted's name
        """The transport's buffer is above its mark."""
        self._clogged = True

    def resumeProducing(self) -> None:  # noqa: N802  Twisted's name
        """The transport's buffer is empty again."""
        self._clogged = False
        self._tell_writable()

    def stopProducing(self) -> None:  # noqa: N802  Twisted's name
        """The transport is gone."""

    def onPing(self, payload: bytes) -> None:  # noqa: N802  autobahn's name
        """Answer, unless the client does not read: pongs would pile up.

        RFC 6455 section 5.5.3 allows to answer only the newest of several pings.
        """
        if self.is_writable:
            self.sendPong(payload)

    # The end.

    def close(self, code: int) -> None:
        """Send a close frame with this code after all written frames and see the closing handshake through."""
        if self.state == self.STATE_CONNECTING:
            if "handshake_deferred" in vars(self):
                self.serverReject()
            return
        self.sendCloseFrame(code=code)
        self._release(self._holds)  # to hear the client's close frame

    def _closeConnection(self, abort: bool = False) -> None:  # noqa: FBT001, FBT002, N802  autobahn's signature
        """End the TCP connection, after what is still to be sent if the closing handshake is complete.

        autobahn aborts in that case too: the reset can overtake the close frame and turn its code into 1006.
        """
        self.flush()
        if abort and not self.wasClean:
            self.transport.abortConnection()
            return
        self.transport.loseConnection()
        if _backlog(self.transport):  # the client may never read it
            self.turn.loop.call_later(CLOSE_TIMEOUT, self.transport.abortConnection)


class Turn:
    """The connections that have written something in this turn of the event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._waiting: list[ChatProtocol] = []

    def add(self, connection: ChatProtocol) -> None:
        """Flush this connection at the end of the turn."""
        if not self._waiting:
            self.loop.call_soon(self._flush)
        self._waiting.append(connection)

    def _flush(self) -> None:
        waiting, self._waiting = self._waiting, []
        for connection in waiting:
            connection.flush()


def _is_utf8(payload: bytes) -> bool:
    """Whether these bytes are UTF-8 (RFC 3629), which excludes surrogates and overlong forms."""
    if payload.isascii():
        return True
    try:
        payload.decode()
    except UnicodeDecodeError:
        return False
    return True


def _backlog(transport: Any) -> int:
    """The bytes that the transport still has to send."""
    waiting: int = len(transport.dataBuffer) - transport.offset + transport._tempDataLen  # noqa: SLF001  not public
    return waiting


def _send(transport: Any, data: bytes) -> None:
    """Send at once what the kernel takes, and leave the rest to the transport.

    Twisted alone waits until epoll calls the socket writable: two changes of the epoll set and a turn of the loop more.
    """
    if transport.connected and not transport.disconnecting and not _backlog(transport):
        sent = transport.writeSomeData(data)
        if sent == len(data):
            return
        if isinstance(sent, int):
            data = data[sent:]
    transport.write(data)
