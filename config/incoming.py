"""The way in of one connection: a short path for the frames that make up nearly all traffic, and back-pressure."""

from time import monotonic
from typing import Any

from daphne.ws_protocol import WebSocketProtocol

from config.frames import is_utf8, next_text
from config.mailbox import Event, Mailbox
from config.outgoing import Turn

# Steps of autobahn's parser in one turn of the loop; it takes two for a frame. Beside a client that sends pings as fast
# as it can, an echo takes 0.7 ms with this limit and 100 ms without.
STEPS = 128

# Why nothing is read from the socket.
_GATEWAY = 1  # the gateway said so
_MAILBOX = 2  # so much waits for the application
_TURN = 4  # others have their turn first


class IncomingProtocol(WebSocketProtocol):  # type: ignore[misc]  # daphne has no types
    """daphne's protocol, as far as it receives.

    autobahn stays responsible for the handshake and for all frames that are not simple (RFC 6455); `config.frames` says
    what is.
    """

    data: bytes  # received and not yet worked off

    turn: Turn  # gives the event loop
    server: Any = None  # the ChatServer, once the handshake was understood
    application_queue: Mailbox | None = None  # set once the application has started

    # The class holds what is true of most connections, which keeps idle ones small.
    heard_at = 0.0  # monotonic time at which the client last sent anything
    _holds = 0  # why nothing is read, if anything but 0

    def dataReceived(self, data: bytes) -> None:  # noqa: N802  Twisted's name
        """Take what the socket had."""
        self.heard_at = monotonic()
        if self.failedByMe:
            return
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
        while not self._holds and not self.failedByMe and self.state in (self.STATE_OPEN, self.STATE_CLOSING):
            if self.state == self.STATE_OPEN and self.current_frame is None and not self.inside_message:
                self._take_texts()
                if not self.data or self._holds:
                    return
            if not self.processData():  # True as long as there is something to do
                return
            steps += 1
            if steps == STEPS:
                self._hold(_TURN)
                self.turn.loop.call_soon(self._release, _TURN)

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

    def tell(self, event: Event) -> None:
        """Let the application receive an event of the server's own."""
        if self.application_queue is not None:
            self.application_queue.put_nowait(event)

    def _deliver(self, event: Event, size: int) -> None:
        mailbox = self.application_queue
        if mailbox is not None:
            mailbox.put_nowait(event, size)
            if mailbox.is_full:
                self._hold(_MAILBOX)

    def mailbox_has_room(self) -> None:
        """Read again, after so much had waited for the application that reading was stopped."""
        self._release(_MAILBOX)

    def pause_reading(self) -> None:
        """Take nothing more from the client until `resume_reading`; TCP then slows it down."""
        self._hold(_GATEWAY)

    def resume_reading(self) -> None:
        """Take frames from the client again."""
        self._release(_GATEWAY)

    def _hold(self, reason: int) -> None:
        if self.state == self.STATE_OPEN or reason == _TURN:
            self._holds |= reason
            self.transport.pauseProducing()

    def _release(self, reason: int) -> None:
        """Go on in a turn of its own, so that one client that floods does not keep the others waiting."""
        if self._holds & reason:
            self._holds &= ~reason
            self.turn.loop.call_soon(self._go_on)

    def _go_on(self) -> None:
        if self._holds:
            return
        self.heard_at = monotonic()  # it could not be heard while nothing was read
        self.consumeData()
        if not self._holds:
            self.transport.resumeProducing()

    def listen_for_close(self) -> None:
        """Read on whatever held us up: only the client's close frame matters any longer."""
        if self._holds:
            self._holds = 0
            self._go_on()

    @property
    def is_held(self) -> bool:
        """Whether nothing is read at the moment, so that the client cannot be heard."""
        return self._holds != 0
