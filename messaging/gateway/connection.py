"""One WebSocket connection, from its handshake to its end.

`ChatConsumer` is a Channels consumer with a receive loop of its own: the stock dispatch costs 350 µs a frame (two
tasks and a hop to the database thread for `aclose_old_connections`), the plain loop 100 µs. Django's connection
hygiene is done where the database is used. A client's requests take effect in the order it sent them; only sends may
be under way together.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import msgspec
from channels.consumer import AsyncConsumer
from django.conf import settings
from msgspec import UNSET, UnsetType

from messaging.delivery.caller import NOBODY, Caller, Identity
from messaging.delivery.memberships import Membership, memberships_of
from messaging.delivery.news import Revoked
from messaging.delivery.replay import Replayer, attach, set_back
from messaging.gateway import handshake, origins
from messaging.gateway.addresses import client_address, forwarded_for, networks
from messaging.gateway.authentication import Authentication
from messaging.gateway.lifecycle import on_stop
from messaging.gateway.outbox import Outbox
from messaging.gateway.timers import Timers
from messaging.gateway.transport import EXTENSION, Transport
from messaging.gateway.worker import Worker
from messaging.protocol.close_codes import CloseCode, goodbye
from messaging.protocol.envelope import Call, Refused, decode, encode, encode_reply
from messaging.protocol.errors import AuthError, AuthRequired, ChatError, InternalError, InvalidJson, UnsupportedFormat
from messaging.protocol.registry import Routes
from messaging.schemas.sessions import SessionRevoked
from messaging.schemas.wire import Sequenced

logger = logging.getLogger(__name__)
IN_FLIGHT_MAX = 64  # requests of one connection; beyond it nothing more is read
UNUSABLE_FRAMES_MAX = 20
FINISH_SECONDS = 4.0  # for requests in flight when the server stops

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


class Connection:
    """A socket and what is known of who is behind it; the hub's `Session` and the replayer's `Reader`."""

    __slots__ = (
        "__weakref__",
        "_in_flight",
        "_missed_joining",
        "_routes",
        "_transport",
        "_unusable_frames",
        "address",
        "authentication",
        "client_id",
        "is_acknowledging",
        "is_closing",
        "outbox",
        "replayer",
        "timers",
        "user",
        "worker",
    )

    def __init__(self, worker: Worker, transport: Transport, routes: Routes, address: str) -> None:
        """Begin as nobody's."""
        self.client_id = str(uuid.uuid4())
        self.address = address  # of the client
        self.worker = worker
        self.user: Identity | None = None  # until `connect` has succeeded
        self.is_acknowledging = False
        self.is_closing = False
        self.outbox = Outbox(transport, self._overflowed)
        self.authentication = Authentication(self)
        self.timers = Timers(self)
        self.replayer: Replayer | None = None  # made when there is something to replay
        self._transport = transport
        self._routes = routes
        self._in_flight: set[asyncio.Task[None]] = set()
        self._unusable_frames = 0
        self._missed_joining = False

    @property
    def user_id(self) -> str:
        """Whose it is, also while `connect` is under way; "" before."""
        return self.authentication.user_id

    # Out.

    def put(self, frame: bytes, conversation_id: str = "", seq: int = 0) -> None:
        """Queue a frame; events say where they stand."""
        self.outbox.put(frame, conversation_id, seq)

    def put_ephemeral(self, frame: bytes) -> None:
        """Queue a frame unless the client reads slowly."""
        if not self.outbox.is_half_full:
            self.outbox.put(frame)

    def send(
        self, reply: msgspec.Struct, request_id: str | UnsetType = UNSET, ignored: list[str] | UnsetType = UNSET
    ) -> None:
        """Queue a reply, or anything else that is not encoded yet."""
        self.outbox.put(encode_reply(reply, request_id, ignored))

    def first_unwritten(self, conversation_id: str) -> int | None:
        """Return the seq of the first event of a conversation that waits in the outbox, if any."""
        return self.outbox.first_unwritten(conversation_id)

    @property
    def is_half_full(self) -> bool:
        """Whether the outbox holds half of what it may."""
        return self.outbox.is_half_full

    async def has_room(self) -> None:
        """Wait until the outbox is under half full."""
        await self.outbox.has_room()

    # The end.

    def close(self, code: CloseCode, reason: str, *, retry_after: float | UnsetType = UNSET) -> None:
        """Say goodbye behind what is queued, and close."""
        if not self.is_closing:
            self.is_closing = True
            self.outbox.close(encode(goodbye(code, reason, retry_after=retry_after)))
            self._transport.close(code)

    def revoke(self, revoked: Revoked) -> None:
        """End the session at once if this revocation means its token or user."""
        if not self.is_closing and self.authentication.is_meant(revoked):
            self.is_closing = True
            farewell = goodbye(CloseCode.SESSION_REVOKED, revoked.reason)
            self.outbox.abandon(encode(SessionRevoked(reason=revoked.reason)), encode(farewell))
            self._transport.close(CloseCode.SESSION_REVOKED)
            self.leave()
            self.worker.presence.left(self.client_id)

    def _overflowed(self) -> None:
        logger.info("connection %s reads too slowly", self.client_id)
        self.is_closing = True
        self.outbox.abandon(encode(goodbye(CloseCode.TOO_SLOW, "the client reads too slowly")))
        self._transport.close(CloseCode.TOO_SLOW)

    def leave(self) -> None:
        """Take the connection out of delivery."""
        if self.replayer is not None:
            self.replayer.stop()
        if self.user_id:
            self.worker.hub.leave(self)

    async def closed(self) -> None:
        """Clean up after the socket has gone; requests in flight go on, since their effects may be committed."""
        self.is_closing = True
        self.timers.stop()
        self.leave()
        self.worker.presence.left(self.client_id)
        await self.worker.watch.record_departed()

    # Memberships.

    def joined_while_connecting(self) -> None:
        """Note that a membership began while ours were being read."""
        if self.user is None:
            self._missed_joining = True

    def look_for_missed_joinings(self) -> None:
        """Have the database looked at if a membership began while ours were being read."""
        if self._missed_joining:
            self._missed_joining = False
            self.worker.watch.suspect()

    def memberships_changed(self, memberships: Sequence[Membership]) -> None:
        """Enter conversations that began unnoticed, and catch up on those that ended."""
        if self.user is None or self.is_closing:
            return
        hub = self.worker.hub
        targets = []
        for membership in memberships:
            subscription = hub.subscription(self, membership.conversation_id)
            if subscription is None and membership.is_member:
                targets.append(attach(hub, self, membership))
            elif subscription is not None:
                hub.hear([(membership.conversation_id, membership.last_seq)])
        self.replays().replay([target for target in targets if target is not None], lambda _: None)

    def replays(self) -> Replayer:
        """Return what replays to this connection."""
        if self.replayer is None:
            self.replayer = Replayer(self, self.worker.hub)
        return self.replayer

    def acknowledge(self, cursors: Mapping[str, int]) -> None:
        """Count what the client has received as delivered."""
        self.worker.hub.acknowledge(self, cursors)

    async def sync(self, cursors: Mapping[str, int], request_id: str | UnsetType = UNSET) -> None:
        """Set positions back to the client's cursors and replay from there; unknown conversations are passed over."""
        assert self.user is not None  # noqa: S101 — for the type checker
        found = await self.worker.reading(memberships_of, [self.user.key], conversation_ids=list(cursors))
        targets = [
            set_back(self.worker.hub, self, membership, cursors[membership.conversation_id])
            for membership in found.get(self.user.key, [])
        ]
        self.authentication.replay([target for target in targets if target is not None], request_id)

    # In.

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
                self.close(CloseCode.TIMED_OUT, "no sign of life")
            elif kind == "chat.stopping":
                await self._finish()
                self.close(CloseCode.RESTARTING, "the server restarts; reconnect after a random moment")

    async def _finish(self) -> None:
        if self._in_flight:
            await asyncio.wait(self._in_flight, timeout=FINISH_SECONDS)

    async def _frame(self, event: dict[str, Any]) -> None:
        if self.is_closing:
            return
        self.timers.heard()
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
        self.send(refused.reason.frame(request_type=refused.request_type, request_id=refused.request_id))
        if isinstance(refused.reason, InvalidJson | UnsupportedFormat) or refused.request_type is UNSET:
            self._unusable_frames += 1
            if self._unusable_frames >= UNUSABLE_FRAMES_MAX:
                self.close(CloseCode.PROTOCOL_VIOLATIONS, f"{UNUSABLE_FRAMES_MAX} frames that are no requests")

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
                self.send(reply, call.request_id, call.ignored)

    def _caller(self, call: Call) -> Caller:
        if call.route.needs_user and self.user is None:
            raise AuthRequired
        return Caller(self.user or NOBODY, self, call.request_id, call.ignored)

    def _answer_refusal(self, call: Call, refusal: ChatError) -> None:
        self.send(refusal.frame(request_type=call.route.wire_type, request_id=call.request_id))
        if isinstance(refusal, AuthError):
            self.authentication.failed(refusal)


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
        connection = Connection(_worker(), scope["extensions"][EXTENSION], self.routes, _address_of(scope))
        await send({"type": "websocket.accept", "subprotocol": handshake.subprotocol(scope["subprotocols"])})
        try:
            await connection.authentication.welcome(handshake.token(scope["headers"], scope["subprotocols"]))
            await connection.serve(receive)
        finally:
            await connection.closed()


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
