"""One WebSocket connection: daphne's protocol with a short path for the frames that make up nearly all traffic.

autobahn stays responsible for the handshake and for all frames that are not simple (RFC 6455); `config.frames` says
what is. The connection is also the gateway's `Transport`.
"""

import asyncio
from collections.abc import Callable, Sequence
from time import monotonic
from typing import Any

from autobahn.websocket.types import ConnectionDeny
from daphne.ws_protocol import WebSocketProtocol

from config.deflate import COMPRESS_FROM, SlimDeflate, without_unusable_offers
from config.frames import is_utf8, next_text, text_header
from config.mailbox import Event, Mailbox
from config.outgoing import Outgoing, Turn
from messaging.gateway import lifecycle

CLOSE_TIMEOUT = 5  # seconds for the client to answer our close frame and to take what is still on its way to it
STEPS = 128  # of autobahn's parser in one turn of the loop; it takes two for a small frame, 20 µs each

# What autobahn and daphne need during the handshake only: copies of the client's headers, which may hold its token, and
# a queue that `sendData` makes superfluous. An idle connection made with 1.5 KB of headers takes 17.5 KiB without them
# and 23.3 with them.
_FORGOTTEN = (
    "clean_headers",
    "http_headers",
    "http_request_data",
    "http_response_data",
    "request",
    "send_queue",
)

_CLOSED_WITHOUT_CODE = 1005  # RFC 6455 section 7.1.5: the client's close frame held no code
_SILENT = 4408

# Why nothing is read from the socket.
_GATEWAY = 1  # the gateway said so
_MAILBOX = 2  # so much waits for the application
_TURN = 4  # others have their turn first


class ChatProtocol(WebSocketProtocol):  # type: ignore[misc]  # daphne has no types
    """The server's end of one WebSocket connection, and the gateway's `Transport`."""

    # autobahn's own state.
    data: bytes  # received and not yet worked off
    _perMessageCompress: Any  # noqa: N815  the negotiated compression, or None

    turn: Turn  # who flushes what is written in this turn of the loop
    server: Any = None  # the ChatServer, once the handshake was understood
    application_queue: Mailbox | None = None  # set once the application has started
    _outgoing: Outgoing

    # The class holds what is true of most connections, which keeps idle ones small.
    _holds = 0  # why nothing is read, if anything but 0
    _heard_at = 0.0  # monotonic time at which the client last sent anything
    _pinged = False  # whether a ping went out since then
    _told_of_silence = False  # whether the application knows that the keep-alive time is over

    # Compared and hashed by identity as daphne does it, but without a call into Python.
    __hash__ = object.__hash__
    __eq__ = object.__eq__

    @classmethod
    def for_factory(cls, factory: Any, turn: Turn) -> type["ChatProtocol"]:
        """A subclass that has the factory's options as class attributes.

        autobahn otherwise copies some thirty options to every connection, and formats them for a log line besides.
        """
        options = {name: getattr(factory, name) for name in cls.CONFIG_ATTRS}
        options["perMessageCompressionAccept"] = staticmethod(options["perMessageCompressionAccept"])
        return type(cls.__name__, (cls,), {**options, "CONFIG_ATTRS": [], "turn": turn})

    # Its life, called by autobahn and daphne.

    def connectionMade(self) -> None:  # noqa: N802  Twisted's name
        """Take over from the HTTP protocol that the connection began with."""
        self._outgoing = Outgoing(self.transport, self.turn)
        self.transport.unregisterProducer()
        self.transport.registerProducer(self._outgoing, streaming=True)
        super().connectionMade()

    def onConnect(self, request: Any) -> Any:  # noqa: N802  autobahn's name
        """Start the application, unless the server is stopping."""
        self._heard_at = monotonic()
        if lifecycle.is_draining():
            raise ConnectionDeny(code=503, reason="Service Unavailable")  # type: ignore[no-untyped-call]  # autobahn's
        return super().onConnect(request)

    def _parseExtensionsHeader(self, header: str, removeQuotes: bool = True) -> list[tuple[str, Any]]:  # noqa: FBT001, FBT002, N802, N803  autobahn's signature
        """The extensions that the client offers, as far as we can meet them."""
        return without_unusable_offers(super()._parseExtensionsHeader(header, removeQuotes))

    def onOpen(self) -> None:  # noqa: N802  autobahn's name
        """Begin with the frames."""
        if self._perMessageCompress is not None:
            self._perMessageCompress = SlimDeflate.instead_of(self._perMessageCompress)
        self.transport.resumeProducing()
        super().onOpen()
        for name in _FORGOTTEN:
            self.__dict__.pop(name, None)

    def onClose(self, wasClean: bool, code: int | None, reason: str | None) -> None:  # noqa: ARG002, FBT001, N802, N803  autobahn's
        """Tell the application that the connection has ended."""
        if self.server is not None:  # else the handshake was refused before there was an application
            self.server.protocol_disconnected(self)
            self.tell({"type": "websocket.disconnect", "code": _CLOSED_WITHOUT_CODE if code is None else code})

    def tell(self, event: Event) -> None:
        """Let the application receive an event of the server's own."""
        if self.application_queue is not None:
            self.application_queue.put_nowait(event)

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
        """Work off what was received, until it ends within a frame or something holds us up."""
        if self.state == self.STATE_CONNECTING:
            self.processHandshake()
            return
        steps = 0
        while not self._holds and self.state in (self.STATE_OPEN, self.STATE_CLOSING):
            if self.state == self.STATE_OPEN and self.current_frame is None and not self.inside_message:
                self._take_texts()
                if not self.data or self._holds:
                    return
            if not self.processData():  # True as long as there is something to do
                return
            steps += 1
            if steps == STEPS:
                self._hold(_TURN)
                self._release_soon(_TURN)

    def _take_texts(self) -> None:
        """Hand over all simple text frames at the beginning of what was received."""
        data, position, limit = self.data, 0, self.maxMessagePayloadSize
        while position < len(data) and not self._holds:
            found = next_text(data, position, limit)
            if found is None:
                break
            payload, position = found
            if not is_utf8(payload):
                self._invalid_payload("A text frame is not UTF-8")
                break
            self._deliver({"type": "websocket.receive", "frame": payload}, len(payload))
        self.data = data[position:]

    def onMessage(self, payload: bytes, isBinary: bool) -> None:  # noqa: FBT001, N802, N803  autobahn's signature
        """Hand over a message that autobahn has put together."""
        if self.state == self.STATE_OPEN:
            self._deliver({"type": "websocket.receive", "bytes" if isBinary else "frame": payload}, len(payload))

    def _deliver(self, event: Event, size: int) -> None:
        mailbox = self.application_queue
        if mailbox is not None:
            mailbox.put_nowait(event, size)
            if mailbox.is_full:
                self._hold(_MAILBOX)

    def mailbox_has_room(self) -> None:
        """Read again, after so much had waited for the application that reading was stopped."""
        self._release_soon(_MAILBOX)

    def pause_reading(self) -> None:
        """Take nothing more from the client until `resume_reading`; TCP then slows it down."""
        self._hold(_GATEWAY)

    def resume_reading(self) -> None:
        """Take frames from the client again."""
        self._release_soon(_GATEWAY)

    def _hold(self, reason: int) -> None:
        if self.state == self.STATE_OPEN:
            self._holds |= reason
            self.transport.pauseProducing()

    def _release_soon(self, reason: int) -> None:
        """In a turn of its own, so that one client that floods does not keep the others waiting."""
        self.turn.loop.call_soon(self._release, reason)

    def _release(self, reason: int) -> None:
        if not self._holds & reason:
            return
        self._holds &= ~reason
        if not self._holds:
            self._heard_at = monotonic()  # it could not be heard while nothing was read
            self.consumeData()
        if not self._holds:
            self.transport.resumeProducing()

    # To the client.

    def write(self, frames: Sequence[bytes]) -> None:
        """Send these texts, one frame each; what is written within one turn of the loop leaves in one piece."""
        if self.state != self.STATE_OPEN:
            return
        if self._perMessageCompress is None:
            self._outgoing.add_texts(frames)
            return
        for frame in frames:
            if len(frame) < COMPRESS_FROM:
                self._outgoing.add_texts((frame,))
            else:
                first, payload = self._perMessageCompress.frame(frame)
                self._outgoing.add(text_header(len(payload), first))
                self._outgoing.add(payload)

    @property
    def is_writable(self) -> bool:
        """Whether less than the high-water mark waits for the client to read it."""
        return self._outgoing.is_writable

    def set_writable_callback(self, callback: Callable[[], None]) -> None:
        """Have this called each time the backlog has drained after `is_writable` was False."""
        self._outgoing.on_writable = callback

    def sendData(self, data: bytes, sync: bool = False, chopsize: int | None = None) -> None:  # noqa: ARG002, FBT001, FBT002, N802  autobahn's signature
        """Send what autobahn has made, in line with everything else."""
        self._outgoing.add(data)

    def handle_reply(self, message: Event) -> None:
        """Do what an ASGI application says; daphne would drop empty messages."""
        if message["type"] != "websocket.send" or self.state != self.STATE_OPEN:
            super().handle_reply(message)
        elif (binary := message.get("bytes")) is not None:
            self.sendMessage(binary, isBinary=True, doNotCompress=True)
        else:
            self.write([message["text"].encode()])

    def serverClose(self, code: int | None = None) -> None:  # noqa: N802  daphne's name
        """Close for an ordinary ASGI application."""
        self.close(1000 if code is None else code)

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
        self._outgoing.flush()
        if abort and not self.wasClean:
            self.transport.abortConnection()
            return
        self.transport.loseConnection()
        if self._outgoing.backlog:  # the client may never read it
            self.turn.loop.call_later(CLOSE_TIMEOUT, self.transport.abortConnection)
