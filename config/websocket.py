"""One WebSocket connection from its handshake to its end."""

import asyncio
from collections.abc import Callable, Sequence
from time import monotonic
from typing import Any

from autobahn.websocket.types import ConnectionDeny

from config.deflate import COMPRESS_FROM, SlimDeflate, without_unusable_offers
from config.frames import text_header
from config.incoming import IncomingProtocol
from config.mailbox import Event
from config.outgoing import Outgoing, Turn
from messaging.gateway import lifecycle

CLOSE_TIMEOUT = 5  # seconds for the client to answer our close frame and to take what is still on its way to it

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
_RESTARTING = 1012
_SILENT = 4408


class ChatProtocol(IncomingProtocol):
    """The server's end of one WebSocket connection, and the gateway's `Transport`."""

    _perMessageCompress: Any  # noqa: N815  the negotiated compression, or None; autobahn's
    _outgoing: Outgoing

    # The class holds what is true of most connections, which keeps idle ones small.
    _pinged_at = 0.0  # monotonic time of our last ping
    _told_of_silence_at = 0.0  # monotonic time at which the application was told that the keep-alive time is over
    _owed_pong: bytes | None = None  # answer to the newest ping, while it waits
    _gateway_writable: Callable[[], None] | None = None

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
        self._outgoing = Outgoing(self.transport, self.turn, self._writable)
        self.transport.unregisterProducer()
        self.transport.registerProducer(self._outgoing, streaming=True)
        super().connectionMade()

    def onConnect(self, request: Any) -> Any:  # noqa: N802  autobahn's name
        """Start the application, unless the server is stopping."""
        self.heard_at = monotonic()
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
            code = self.localCloseCode if self.failedByMe else code
            self.tell({"type": "websocket.disconnect", "code": _CLOSED_WITHOUT_CODE if code is None else code})

    def application_ended(self, application: asyncio.Future[None]) -> None:
        """Close a connection that nobody serves any longer."""
        failed = application.cancelled() or application.exception() is not None
        self.close(1011 if failed else 1000)

    def check_timeouts(self) -> None:
        """Ping a client that is silent, and part from one that stays so; called every few seconds."""
        if self.state == self.STATE_CONNECTING:
            if self.duration() > self.server.websocket_connect_timeout:
                self.close(_SILENT)
        elif self.state == self.STATE_OPEN and not self.is_held:
            self._check_silence(monotonic())

    def _check_silence(self, now: float) -> None:
        """The time counts from our ping: if this process was stopped for a while, that is not the client's silence."""
        half = self.server.keep_alive_timeout / 2
        if now - self.heard_at < half:
            return
        if self._pinged_at < self.heard_at:
            self._pinged_at = now
            self.sendPing()
        elif now - self._pinged_at < half:
            return
        elif self._told_of_silence_at < self.heard_at:
            self._told_of_silence_at = now
            self.tell({"type": "chat.silent"})
        else:
            self.close(_SILENT)

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
        self._gateway_writable = callback

    def _writable(self) -> None:
        self._answer_ping()
        if self._gateway_writable is not None and self.state == self.STATE_OPEN:
            self._gateway_writable()

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
        """Answer, but while the client does not read only the newest ping: pongs would pile up (section 5.5.3)."""
        self._owed_pong = payload
        if self.is_writable:
            self._answer_ping()

    def _answer_ping(self) -> None:
        if self._owed_pong is not None:
            self.sendPong(self._owed_pong)
            self._owed_pong = None

    # The end.

    def close(self, code: int) -> None:
        """Send a close frame with this code after all written frames and see the closing handshake through."""
        if self.state == self.STATE_CONNECTING:
            if "handshake_deferred" in vars(self):
                self.serverReject()
            return
        self.sendCloseFrame(code=code)
        self.listen_for_close()

    def stop(self) -> None:
        """Ask the application to end the connection, or refuse a handshake that it has not answered yet."""
        if self.state == self.STATE_CONNECTING:
            self.close(_RESTARTING)
        else:
            self.tell({"type": "chat.stopping"})

    def _fail_connection(self, code: int, reason: str) -> None:
        """Answer a violation with a close frame and read nothing more (RFC 6455 section 7.1.7).

        What still comes is thrown away until the client has seen the end of our side and ends its own: closing the
        socket before that would reset the connection, and the client might never see the code.
        """
        if not self.failedByMe:
            super()._fail_connection(code, reason)
            self.listen_for_close()
            self._outgoing.flush()
            self.transport.loseWriteConnection()

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
