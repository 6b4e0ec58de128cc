"""One WebSocket connection as everything else sees it: who it belongs to, what is written to it, how it ends."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Mapping, Sequence

import msgspec
from msgspec import UNSET, UnsetType

from messaging.delivery.caller import Identity
from messaging.delivery.memberships import Membership, memberships_of
from messaging.delivery.news import Revoked
from messaging.delivery.replay import Replayer, attach, set_back
from messaging.gateway.authentication import Authentication
from messaging.gateway.outbox import Outbox
from messaging.gateway.timers import Timers
from messaging.gateway.transport import Transport
from messaging.gateway.worker import Worker
from messaging.protocol.close_codes import CloseCode, goodbye
from messaging.protocol.envelope import encode, encode_reply
from messaging.schemas.sessions import SessionRevoked

logger = logging.getLogger(__name__)


class Connection:
    """A socket and what is known of who is behind it; the hub's `Session` and the replayer's `Reader`."""

    __slots__ = (
        "__weakref__",
        "_missed_joining",
        "_transport",
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

    def __init__(self, worker: Worker, transport: Transport, address: str) -> None:
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
        self.worker.hub.positions.acknowledge(self, cursors)

    async def sync(self, cursors: Mapping[str, int], request_id: str | UnsetType = UNSET) -> None:
        """Set positions back to the client's cursors and replay from there; unknown conversations are passed over."""
        assert self.user is not None  # noqa: S101 — for the type checker
        found = await self.worker.reading(memberships_of, [self.user.key], conversation_ids=list(cursors))
        targets = [
            set_back(self.worker.hub, self, membership, cursors[membership.conversation_id])
            for membership in found.get(self.user.key, [])
        ]
        self.authentication.replay([target for target in targets if target is not None], request_id)
