"""A small WebSocket client that tests speak through."""

import asyncio
import itertools
import json
from collections.abc import Callable, Collection, Mapping
from types import TracebackType
from typing import Any, Self

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Origin, Subprotocol

Frame = dict[str, Any]  # one frame of the server, as JSON has it

ANSWER_SECONDS = 10.0  # the longest wait for a frame that has to come
PRESENCE = frozenset({"user_online", "user_offline"})
UNASKED = PRESENCE | {"messages_delivered"}  # what comes whenever others come and go
QUIET_SECONDS = 0.3  # how long a silence has to last to count as one


class ChatClient:
    """One connection to the server; frames that nobody asked for wait in `inbox`, in the order of their arrival.

    async with ChatClient(server.url, cast.ann.token) as ann:
        await ann.connect()
        reply = await ann.ask("send_message", recipientId=cast.bob.id, content="Hello")
    """

    def __init__(
        self,
        url: str,
        token: str | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        origin: str | None = None,
        subprotocols: Collection[str] | None = None,
        compression: str | None = None,
        ignoring: Collection[str] = UNASKED,
        heard: Callable[[Frame], None] | None = None,
    ) -> None:
        """Prepare a connection.

        Args:
            url: where the server listens for WebSockets.
            token: what `connect` authenticates with.
            headers: further headers of the handshake.
            origin: the Origin header, which browsers send and native clients do not.
            subprotocols: what the handshake offers.
            compression: "deflate" to offer it.
            ignoring: types of frames that the test is not about; they never reach the inbox.
            heard: called with every frame in the order of their arrival.
        """
        self.url = url
        self.token = token
        self.inbox: list[Frame] = []
        self.ignoring = frozenset(ignoring)
        self._heard = heard
        self._handshake: dict[str, Any] = {
            "additional_headers": headers,
            "origin": None if origin is None else Origin(origin),
            "subprotocols": None if subprotocols is None else [Subprotocol(name) for name in subprotocols],
            "compression": compression,
            "max_size": None,
            "proxy": None,
        }
        self._socket: ClientConnection | None = None  # None outside of the with block
        self._reader: asyncio.Task[None] | None = None  # the same
        self._request_ids = itertools.count(1)
        self._news = asyncio.Condition()  # notified at each frame and at the end of the connection
        self._is_open = False

    async def __aenter__(self) -> Self:
        """Open the connection, without authenticating."""
        self._socket = await connect(self.url, open_timeout=ANSWER_SECONDS, close_timeout=2, **self._handshake)
        self._is_open = True
        self._reader = asyncio.create_task(self._read(self._socket))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close the connection."""
        await self.socket.close()
        if self._reader is not None:
            await self._reader

    @property
    def socket(self) -> ClientConnection:
        """The connection itself, for what this class does not do."""
        if self._socket is None:
            raise RuntimeError("Enter the client by `async with` first")
        return self._socket

    @property
    def close_code(self) -> int | None:
        """The close code of the connection, None while it is open."""
        return None if self._is_open else self.socket.close_code

    async def connect(self, **fields: Any) -> Frame:
        """Authenticate and return the reply; after success the inbox holds what was queued, without `sync_complete`."""
        if self.token is not None:
            fields.setdefault("token", self.token)
        reply = await self.ask("connect", **fields)
        self.take_all("connected")
        if reply["type"] == "auth_success":
            await self.next(type="sync_complete")
        return reply

    async def ask(self, request: str, /, **fields: Any) -> Frame:
        """Send a request and return the frame that answers it; any others wait in the inbox."""
        request_id = fields.setdefault("requestId", f"t{next(self._request_ids)}")
        await self.tell(request, **fields)
        return await self._take(lambda frame: frame.get("requestId") == request_id, f"the answer to {request}")

    async def tell(self, request: str, /, **fields: Any) -> None:
        """Send a request without waiting for an answer."""
        await self.send_text(json.dumps({"type": request, **fields}))

    async def send_text(self, text: str | bytes) -> None:
        """Send a frame as it stands: text for a text frame, bytes for a binary one."""
        await self.socket.send(text)

    async def next(self, *, type: str | None = None, seconds: float = ANSWER_SECONDS) -> Frame:  # noqa: A002
        """Take the first frame of this type, or of any; those before it stay."""
        wanted = "a frame" if type is None else type
        return await self._take(lambda frame: type in {None, frame.get("type")}, wanted, seconds)

    async def until(self, *, type: str, seconds: float = ANSWER_SECONDS) -> list[Frame]:  # noqa: A002
        """Take all frames up to the first of this type, which comes last."""
        async with self._news:
            await self._wait_for(lambda: any(frame.get("type") == type for frame in self.inbox), type, seconds)
            end = next(index for index, frame in enumerate(self.inbox) if frame.get("type") == type) + 1
            taken, self.inbox[:end] = self.inbox[:end], []
            return taken

    def take_all(self, *types: str) -> list[Frame]:
        """Take the frames that have arrived, all or those of these types, without waiting."""
        taken = [frame for frame in self.inbox if not types or frame.get("type") in types]
        self.inbox = [frame for frame in self.inbox if types and frame.get("type") not in types]
        return taken

    async def quiet(self, seconds: float = QUIET_SECONDS, *, ignoring: Collection[str] = ()) -> None:
        """Fail if the inbox holds a frame, or one arrives within this time; those of the ignored types do not count."""
        await asyncio.sleep(seconds)
        heard = [frame for frame in self.inbox if frame.get("type") not in ignoring]
        assert not heard, f"expected silence, got {heard}"
        assert self._is_open, f"expected silence, got closed with {self.close_code}"

    async def closed(self, seconds: float = ANSWER_SECONDS) -> int | None:
        """Wait until the server closes the connection, and return the close code."""
        async with self._news:
            await self._wait_for(lambda: not self._is_open, "a close", seconds, open_only=False)
        return self.close_code

    async def _take(self, matches: Callable[[Frame], bool], wanted: str, seconds: float = ANSWER_SECONDS) -> Frame:
        """Wait for the first frame that matches and take it out of the inbox."""
        async with self._news:
            await self._wait_for(lambda: any(map(matches, self.inbox)), wanted, seconds)
            index = next(index for index, frame in enumerate(self.inbox) if matches(frame))
            return self.inbox.pop(index)

    async def _wait_for(
        self, is_true: Callable[[], bool], wanted: str, seconds: float, *, open_only: bool = True
    ) -> None:
        """Wait until something is true; fail when it takes too long or the connection ends first."""
        try:
            async with asyncio.timeout(seconds):
                await self._news.wait_for(lambda: is_true() or (open_only and not self._is_open))
        except TimeoutError:
            raise AssertionError(f"waited {seconds} s for {wanted}; inbox: {self.inbox}") from None
        assert is_true(), f"closed with {self.close_code} instead of {wanted}; inbox: {self.inbox}"

    async def _read(self, socket: ClientConnection) -> None:
        """Put each frame into the inbox until the connection ends."""
        try:
            async for text in socket:
                frame = json.loads(text)
                if self._heard is not None:
                    self._heard(frame)
                if frame.get("type") in self.ignoring:
                    continue
                async with self._news:
                    self.inbox.append(frame)
                    self._news.notify_all()
        except ConnectionClosed:
            pass  # not a normal closure; the code is the socket's
        finally:
            async with self._news:
                self._is_open = False
                self._news.notify_all()
