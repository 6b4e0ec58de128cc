"""The hub of a worker: it knows which sockets care about which conversation and brings them every event in order.

News that continues what this worker has seen goes straight to the sockets. News that leaves a gap makes it read the
log. So live delivery, a lost publish and workers racing each other are one thing: deliver everything after seq n, in
order, once. Everything here runs on the event loop; nothing here waits for the channel layer.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from messaging.delivery import profiles
from messaging.delivery.memberships import Membership
from messaging.delivery.news import Cleared, Hint, LiveEvent, News, ProfileChanged, Revoked, ToUsers
from messaging.delivery.positions import DeliveredPositions
from messaging.delivery.rooms import Listener, Room, Subscription
from messaging.protocol.errors import ServerBusy

logger = logging.getLogger(__name__)
PAGE_EVENTS = 200
RETRY_SECONDS = 1.0
SETTLE_SECONDS = 15.0  # longer than any request waits for its commit


class ReadLog(Protocol):
    """Reads a page of a conversation's log, as `events.read` does, from the loop."""

    def __call__(
        self,
        conversation_id: str,
        *,
        after: int,
        limit: int,
        until: int | None = None,
        viewer_id: str | None = None,
    ) -> Awaitable[list[LiveEvent]]:
        """Return the events after a seq, in order."""


class Session(Listener, Protocol):
    """A connection that the hub can also end."""

    def revoke(self, revoked: Revoked) -> None:
        """Close if this revocation means the connection's token or user."""

    def joined_while_connecting(self) -> None:
        """Note that a membership began while the connection's memberships were being read."""

    def memberships_changed(self, memberships: Sequence[Membership]) -> None:
        """Act on memberships that a check has found to have begun or ended."""


@dataclass(frozen=True, slots=True)
class PlacedReply:
    """A reply that belongs into the place of the event that its request made."""

    connection: Listener
    conversation_id: str
    seq: int
    frame: bytes


class Hub:
    """The sockets of one worker by user and by conversation."""

    def __init__(self, read_log: ReadLog) -> None:
        """Start empty; `read_log` fills gaps."""
        self.read_log = read_log
        self.rooms: dict[str, Room] = {}
        self.users: dict[str, dict[str, Session]] = {}  # connections by user id and client id
        self.in_flight: dict[str, asyncio.Future[None]] = {}  # this worker's commands by id, done once published
        self.online: set[str] = set()  # users who count as online, here or elsewhere, as presence has found
        self.positions = DeliveredPositions(self.rooms)
        self._seats: dict[str, set[str]] = {}  # the conversations of each connection, by client id
        # Seqs of conversations without a room: this turn's, the last's.
        self._heard_elsewhere: list[dict[str, int]] = [{}, {}]
        self._tasks: set[asyncio.Task[None]] = set()

    # People come and go.

    def enter(self, session: Session) -> None:
        """Know a user's connection, from before its memberships are read until `leave`."""
        self.users.setdefault(session.user_id, {})[session.client_id] = session

    def leave(self, session: Session) -> None:
        """Forget a connection; what it was given counts as delivered as far as it was written."""
        for conversation_id in self._seats.pop(session.client_id, ()):
            self.depart(self.rooms[conversation_id].subscriptions.pop(session.client_id))
            self._close_if_empty(conversation_id)
        connections = self.users.get(session.user_id, {})
        connections.pop(session.client_id, None)
        if not connections:
            self.users.pop(session.user_id, None)

    def subscribe(
        self, session: Session, conversation_id: str, *, position: int, last_seq: int, visible_from: int
    ) -> Subscription:
        """Put a connection into a conversation at a position; it is live unless something is to be replayed first.

        Args:
            session: whose subscription.
            conversation_id: the conversation.
            position: the last seq that this connection has.
            last_seq: the end of the log when the membership was read.
            visible_from: the first seq whose message the user may see.

        """
        room = self.rooms.get(conversation_id)
        if room is None:
            room = self.rooms[conversation_id] = Room(conversation_id, last_seq)
            self._hear(conversation_id, max(turn.get(conversation_id, 0) for turn in self._heard_elsewhere))
        if (known := room.subscriptions.get(session.client_id)) is not None:
            return known
        subscription = Subscription(session, conversation_id, position, visible_from, recorded=position)
        self._seat(room, subscription)
        self._hear(conversation_id, last_seq)
        subscription.is_live = subscription.position >= max(room.last_seq, last_seq)
        return subscription

    def depart(self, subscription: Subscription) -> None:
        """Keep what a subscription that ends has received, and send what waited for its place in it."""
        for frame in subscription.replies.values():
            subscription.connection.put(frame)
        self.positions.mark(subscription)

    def subscription(self, session: Listener, conversation_id: str) -> Subscription | None:
        """Return a connection's place in a conversation, if it has one."""
        room = self.rooms.get(conversation_id)
        return None if room is None else room.subscriptions.get(session.client_id)

    def is_online(self, user_id: str) -> bool:
        """Return whether a user has a connection on this worker, or counts as online by what presence found last."""
        return user_id in self.users or user_id in self.online

    # News arrives.

    def take(self, news: Iterable[News], reply: PlacedReply | None = None) -> None:
        """Act on news of committed changes, this worker's own or another's, in order."""
        for item in news:
            if isinstance(item, LiveEvent):
                self._take_event(item, reply)
            elif isinstance(item, Hint):
                self._hear(item.conversation_id, item.seq)
            elif isinstance(item, ToUsers):
                self._take_frame(item)
            elif isinstance(item, Cleared):
                self._take_clearing(item)
            elif isinstance(item, ProfileChanged):
                profiles.forget_named(item.user_id)
            else:
                self._take_revocation(item)

    def place_reply(self, reply: PlacedReply) -> None:
        """Send a reply in the place of its event: when everything before it has been given, and never both."""
        self._place_before(reply)
        self._hear(reply.conversation_id, reply.seq)

    async def settled(self, command_id: str | None) -> None:
        """Wait until a command of this worker has been published, so that its reply takes the place of its event."""
        if command_id is not None and (future := self.in_flight.get(command_id)) is not None:
            await asyncio.wait((future,), timeout=SETTLE_SECONDS)

    def hear(self, positions: Iterable[tuple[str, int]]) -> None:
        """Note how far logs have got, as a position check found; what leaves a gap is read."""
        for conversation_id, seq in positions:
            self._hear(conversation_id, seq)

    def forget_old_news(self) -> None:
        """Forget what was heard of conversations without a room two turns ago; call it every ten seconds or so."""
        self._heard_elsewhere = [{}, self._heard_elsewhere[0]]

    def _take_event(self, event: LiveEvent, reply: PlacedReply | None) -> None:
        if event.joined:
            self._take_joining(event)
        if reply is not None and event.seq == reply.seq and event.conversation_id == reply.conversation_id:
            self._place_before(reply)
        room = self.rooms.get(event.conversation_id)
        if room is None:
            self._hear(event.conversation_id, event.seq)
            return
        if room.accept(event):
            self._after(room, event)
        else:
            self._catch_up(room)

    def _place_before(self, reply: PlacedReply) -> None:
        subscription = self.subscription(reply.connection, reply.conversation_id)
        if subscription is None or subscription.position >= reply.seq:
            reply.connection.put(reply.frame)
        else:
            subscription.replies[reply.seq] = reply.frame

    def _after(self, room: Room, event: LiveEvent) -> None:
        self.positions.moved.add(room.conversation_id)
        if event.left:
            for subscription in room.drop_users(event.left):
                self._seats[subscription.connection.client_id].discard(room.conversation_id)
                if subscription.is_live:
                    self.depart(subscription)
                else:
                    subscription.ends_at = event.seq  # its replay gives the rest
            self._close_if_empty(room.conversation_id)

    def _take_joining(self, event: LiveEvent) -> None:
        """Subscribe the connections of users whose membership begins with this event."""
        for user_id in event.joined or ():
            for session in tuple(self.users.get(user_id, {}).values()):
                session.joined_while_connecting()
                room = self.rooms.get(event.conversation_id)
                if room is None:
                    room = self.rooms[event.conversation_id] = Room(event.conversation_id, event.seq - 1)
                if session.client_id not in room.subscriptions and event.seq > room.last_seq:
                    before, visible_from = event.seq - 1, event.joined_sees_from
                    self._seat(
                        room, Subscription(session, event.conversation_id, before, visible_from, recorded=before)
                    )

    def _take_frame(self, item: ToUsers) -> None:
        for user_id in item.user_ids:
            for client_id, session in tuple(self.users.get(user_id, {}).items()):
                if client_id != item.except_client_id:
                    session.put_ephemeral(item.frame)

    def _take_clearing(self, item: Cleared) -> None:
        room = self.rooms.get(item.conversation_id)
        for subscription in room.subscriptions.values() if room else ():
            if subscription.connection.user_id == item.user_id:
                subscription.visible_from = max(subscription.visible_from, item.seq + 1)

    def _take_revocation(self, item: Revoked) -> None:
        groups: Sequence[dict[str, Session]]
        groups = tuple(self.users.values()) if item.user_id is None else (self.users.get(item.user_id, {}),)
        for sessions in groups:
            for session in tuple(sessions.values()):
                session.revoke(item)

    # Gaps.

    def _hear(self, conversation_id: str, seq: int) -> None:
        room = self.rooms.get(conversation_id)
        if room is None:
            heard = self._heard_elsewhere[0]
            heard[conversation_id] = max(seq, heard.get(conversation_id, 0))
        elif room.hear(seq):
            self._catch_up(room)

    def _catch_up(self, room: Room) -> None:
        if not room.is_catching_up:
            room.is_catching_up = True
            self.spawn(self._read_gap(room))

    async def _read_gap(self, room: Room) -> None:
        try:
            while room.is_behind and room.subscriptions:
                try:
                    events = await self.read_log(room.conversation_id, after=room.last_seq, limit=PAGE_EVENTS)
                except ServerBusy:
                    await asyncio.sleep(RETRY_SECONDS)
                    continue
                await self._give_page(room, events)
        finally:
            room.is_catching_up = False

    async def _give_page(self, room: Room, events: list[LiveEvent]) -> None:
        if not events:
            room.heard_seq = room.last_seq  # what was heard of was never committed, or is gone for good
        elif events[0].seq > room.last_seq + 1:
            room.last_seq = events[0].seq - 1  # purged: clients find the hole and load history
        for event in events:
            await self.settled(event.command_id)
            if event.joined:
                self._take_joining(event)
            if room.accept(event):
                self._after(room, event)

    def _seat(self, room: Room, subscription: Subscription) -> None:
        client_id = subscription.connection.client_id
        room.subscriptions[client_id] = subscription
        self._seats.setdefault(client_id, set()).add(room.conversation_id)

    def _close_if_empty(self, conversation_id: str) -> None:
        if not self.rooms[conversation_id].subscriptions:
            del self.rooms[conversation_id]

    def spawn(self, work: Awaitable[None]) -> None:
        """Run something beside everything else; what it raises is logged."""
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("delivery failed", exc_info=error)
