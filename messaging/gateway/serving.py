"""The WebSocket endpoint: it takes in a socket's frames and answers them as requests.

`ChatConsumer` is a Channels consumer with a receive loop of its own: the stock dispatch costs 350 µs a frame (two
tasks and a hop to the database thread for `aclose_old_connections`), the plain loop 100 µs. Django's connection
hygiene is done where the database is used. A client's requests take effect in the order it sent them; only sends may
be under way together.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

from channels.consumer import AsyncConsumer
from django.conf import settings
from msgspec import UNSET

from messaging.delivery.caller import NOBODY, Caller
from messaging.gateway import handshake, origins
from messaging.gateway.addresses import client_address, forwarded_for, networks
from messaging.gateway.connection import Connection
from messaging.gateway.lifecycle import on_stop
from messaging.gateway.transport import EXTENSION
from messaging.gateway.worker import Worker
from messaging.protocol.close_codes import CloseCode
from messaging.protocol.envelope import Call, Refused, decode
from messaging.protocol.errors import AuthError, AuthRequired, ChatError, InternalError, InvalidJson, UnsupportedFormat
from messaging.protocol.registry import Routes
from messaging.schemas.wire import Sequenced

logger = logging.getLogger(__name__)
IN_FLIGHT_MAX = 64  # requests of one connection; beyond it nothing more is read
UNUSABLE_FRAMES_MAX = 20
FINISH_SECONDS = 4.0  # for requests in flight when the server stops

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


class ChatConsumer(AsyncConsumer):  # type: ignore[misc]  # channels has no types
    """The WebSocket endpoint."""

    routes: Routes = {}  # given by `as_asgi(routes=…)`

    def __init__(self, routes: Routes) -> None:
        """Answer by a table of routes."""
        self.routes = routes

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        """Serve one connection."""
        await receive()  # websocket.connect
        if not origins.is_welcome(scope["headers"], settings.ALLOWED_ORIGINS):
            await send({"type": "websocket.close"})  # before the accept: HTTP 403
            return
        connection = Connection(_worker(), scope["extensions"][EXTENSION], _address_of(scope))
        await send({"type": "websocket.accept", "subprotocol": handshake.subprotocol(scope["subprotocols"])})
        try:
            await connection.authentication.welcome(handshake.token(scope["headers"], scope["subprotocols"]))
            await Requests(connection, self.routes).serve(receive)
        finally:
            await connection.closed()


class Requests:
    """The requests of one connection."""

    __slots__ = ("_connection", "_in_flight", "_routes", "_unusable_frames")

    def __init__(self, connection: Connection, routes: Routes) -> None:
        """Answer by a table of routes."""
        self._connection = connection
        self._routes = routes
        self._in_flight: set[asyncio.Task[None]] = set()
        self._unusable_frames = 0

    async def serve(self, receive: Receive) -> None:
        """Answer frames until the socket is closed."""
        while True:
            event = await receive()
            kind = event["type"]
            if kind == "websocket.receive":
                await self._frame(event)
            elif kind == "websocket.disconnect":
                return
            elif kind == "chat.silent":
                self._connection.close(CloseCode.TIMED_OUT, "no sign of life")
            elif kind == "chat.stopping":
                await self._finish()
                self._connection.close(CloseCode.RESTARTING, "the server restarts; reconnect after a random moment")

    async def _finish(self) -> None:
        if self._in_flight:
            await asyncio.wait(self._in_flight, timeout=FINISH_SECONDS)

    async def _frame(self, event: dict[str, Any]) -> None:
        if self._connection.is_closing:
            return
        self._connection.timers.heard()
        try:
            call = decode(_text_of(event), self._routes)
        except Refused as refused:
            self._refuse(refused)
            return
        if not call.route.is_pipelined:
            if self._in_flight:
                await asyncio.wait(self._in_flight)
            await self._answer(call)
            return
        if len(self._in_flight) >= IN_FLIGHT_MAX:
            await asyncio.wait(self._in_flight, return_when=asyncio.FIRST_COMPLETED)
        task = asyncio.ensure_future(self._answer(call))
        self._in_flight.add(task)
        task.add_done_callback(self._in_flight.discard)

    def _refuse(self, refused: Refused) -> None:
        self._connection.send(refused.reason.frame(request_type=refused.request_type, request_id=refused.request_id))
        if isinstance(refused.reason, InvalidJson | UnsupportedFormat) or refused.request_type is UNSET:
            self._unusable_frames += 1
            if self._unusable_frames >= UNUSABLE_FRAMES_MAX:
                self._connection.close(
                    CloseCode.PROTOCOL_VIOLATIONS, f"{UNUSABLE_FRAMES_MAX} frames that are no requests"
                )

    async def _answer(self, call: Call) -> None:
        """Answer one request with its reply or its refusal; nothing it does can end the connection by accident."""
        try:
            caller = self._caller(call)
            reply = await call.route.handler(caller, call.request)
        except ChatError as refusal:
            self._answer_refusal(call, refusal)
        except Exception:
            error_id = str(uuid.uuid4())
            logger.exception("%s failed, errorId %s", call.route.wire_type, error_id)
            self._answer_refusal(call, InternalError(error_id=error_id))
        else:
            # A reply with a seq is the hub's to send, in the place of its event.
            if reply is not None and not (isinstance(reply, Sequenced) and reply.seq is not UNSET):
                self._connection.send(reply, call.request_id, call.ignored)

    def _caller(self, call: Call) -> Caller:
        if call.route.needs_user and self._connection.user is None:
            raise AuthRequired
        return Caller(self._connection.user or NOBODY, self._connection, call.request_id, call.ignored)

    def _answer_refusal(self, call: Call, refusal: ChatError) -> None:
        self._connection.send(refusal.frame(request_type=call.route.wire_type, request_id=call.request_id))
        if isinstance(refusal, AuthError):
            self._connection.authentication.failed(refusal)


def _address_of(scope: dict[str, Any]) -> str:
    proxies = networks(tuple(settings.TRUSTED_PROXIES))
    return client_address(scope["client"][0], forwarded_for(scope["headers"]), proxies)


def _text_of(event: dict[str, Any]) -> bytes:
    frame: bytes | None = event.get("frame")
    if frame is None:
        raise Refused(UnsupportedFormat())
    return frame


def _worker() -> Worker:
    """Return this process's worker, which stops when the process does."""
    if (worker := Worker.running()) is None:
        worker = Worker.current()
        on_stop(worker.stop)
    return worker
