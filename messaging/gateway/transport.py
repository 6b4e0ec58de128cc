"""What the gateway asks of a socket, so that it runs on any server that can do these few things.

The server puts an object that satisfies `Transport` into `scope["extensions"]["chat.transport"]` of every WebSocket
connection. Beside the ordinary ASGI events the application then receives:

- `{"type": "websocket.receive", "frame": bytes}` for a text frame: valid UTF-8, not decoded
- `{"type": "websocket.receive", "bytes": bytes}` for a binary frame
- `{"type": "chat.stopping"}` once, when the server wants to stop: finish what is in flight, say goodbye, `close(1012)`
- `{"type": "chat.silent"}` when nothing was heard for the keep-alive time: say goodbye, `close(4408)`
"""

from collections.abc import Callable, Sequence
from typing import Protocol

EXTENSION = "chat.transport"  # key in scope["extensions"]


class Transport(Protocol):
    """The socket of one connection as the gateway sees it: whole text frames out, flow control both ways.

    Every method returns at once, never raises because the client is gone, and is called on the event loop only.
    """

    def write(self, frames: Sequence[bytes]) -> None:
        """Send these UTF-8 texts, one frame each, in order and after everything written before.

        What all calls within one turn of the event loop write leaves in one piece. Frames written after `close` or
        before the accept are dropped.
        """

    @property
    def is_writable(self) -> bool:
        """Whether less than the transport's high-water mark waits for the client to read it."""

    def set_writable_callback(self, callback: Callable[[], None]) -> None:
        """Have this called each time the backlog has drained after `is_writable` was False."""

    def pause_reading(self) -> None:
        """Take nothing more from the client until `resume_reading`; TCP then slows it down."""

    def resume_reading(self) -> None:
        """Take frames from the client again."""

    def close(self, code: int) -> None:
        """Send a close frame with this code after all written frames and see the closing handshake through.

        Any code of RFC 6455 section 7.4 that may stand in a frame. A client that does not answer in time is dropped;
        `websocket.disconnect` follows in either case. Before the accept the handshake is refused with HTTP 403.
        """
