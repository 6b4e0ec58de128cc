"""Replays: what a connection missed, read page by page from the log and given in order, until the live events go on.

A connection has one `Replayer`, which works through its conversations one after another. A subscription under replay is
not live; live events of it wait in the log. Setting a position back (`sync`, `resume`) while a page is being read makes
the replay read again from there.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from messaging.delivery.hub import PAGE_EVENTS, RETRY_SECONDS, Hub, Session
from messaging.delivery.memberships import Membership, Stretch
from messaging.delivery.news import LiveEvent
from messaging.delivery.rooms import Subscription
from messaging.protocol.errors import ServerBusy

EVENTS_MAX = 1_000  # replayed of one conversation; what is beyond them is `incomplete`


@dataclass(slots=True)
class Target:
    """One conversation to replay, and what of it."""

    subscription: Subscription
    stretches: Sequence[Stretch]  # in order
    cleared_seq: int  # everything up to here is deleted for this user
    is_member: bool  # whether live events follow
    end: int  # the end of the log when this was asked for


def attach(hub: Hub, session: Session, membership: Membership, cursor: int | None = None) -> Target | None:
    """Put a connection into a conversation, and return what has to be replayed before it is live there.

    Args:
        hub: of this worker.
        session: the connection.
        membership: the user's place in that conversation, just read.
        cursor: where the client says it is; without one the delivered position decides.

    """
    delivered = max(membership.delivered_seq, hub.positions.delivered(session.user_id, membership.conversation_id))
    start = min(delivered if cursor is None else cursor, membership.last_seq)
    visible_from = max(membership.stretches[-1].visible_from, membership.cleared_seq + 1)
    if not membership.is_member:
        subscription = Subscription(session, membership.conversation_id, start, visible_from, is_live=False)
        is_behind = start < (membership.stretches[-1].to_seq or 0)
    else:
        subscription = hub.subscribe(
            session, membership.conversation_id, position=start, last_seq=membership.last_seq, visible_from=visible_from
        )
        is_behind = not subscription.is_live
    subscription.recorded = membership.delivered_seq
    if not is_behind:
        return None
    return Target(subscription, membership.stretches, membership.cleared_seq, membership.is_member, membership.last_seq)


def set_back(hub: Hub, session: Session, membership: Membership, cursor: int) -> Target | None:
    """Set a connection's position in a conversation to a cursor; from there each event comes once more, in order."""
    subscription = hub.subscription(session, membership.conversation_id)
    if subscription is None:
        return attach(hub, session, membership, cursor)
    room = hub.rooms[membership.conversation_id]
    subscription.position = min(cursor, max(room.last_seq, membership.last_seq))
    if subscription.complete_until is not None and subscription.position <= subscription.complete_until:
        subscription.complete_until = None
    subscription.is_live = subscription.position >= max(room.last_seq, membership.last_seq)
    if subscription.is_live:
        return None
    return Target(subscription, membership.stretches, membership.cleared_seq, True, membership.last_seq)


@dataclass(slots=True)
class Outcome:
    """How a replay went."""

    delivered: int
    incomplete: list[str]


@dataclass(slots=True)
class _Job:
    targets: list[Target]
    done: Callable[[Outcome], None]


class Reader(Session, Protocol):
    """A connection that can be replayed to."""

    @property
    def is_half_full(self) -> bool:
        """Whether the outbox holds half of what it may."""

    async def has_room(self) -> None:
        """Wait until the outbox is under half full."""


class Replayer:
    """The replays of one connection, in the order they were asked for."""

    def __init__(self, connection: Reader, hub: Hub) -> None:
        """Idle until `replay` is called."""
        self._connection = connection
        self._hub = hub
        self._jobs: deque[_Job] = deque()
        self._task: asyncio.Task[None] | None = None

    def replay(self, targets: list[Target], done: Callable[[Outcome], None]) -> None:
        """Replay these conversations after what was asked before; `done` is called behind the last event."""
        if not targets and self._task is None:
            done(Outcome(0, []))
            return
        self._jobs.append(_Job(targets, done))
        if self._task is None:
            self._task = asyncio.ensure_future(self._run())

    def stop(self) -> None:
        """Give up: the connection is closed."""
        if self._task is not None:
            self._task.cancel()

    async def _run(self) -> None:
        try:
            while self._jobs:
                job = self._jobs.popleft()
                outcome = Outcome(0, [])
                for target in job.targets:
                    await _ReplayOfOne(self._connection, self._hub, target, outcome).run()
                job.done(outcome)
        finally:
            self._task = None


class _ReplayOfOne:
    """One conversation's replay, from its subscription's position to the live events."""

    def __init__(self, connection: Reader, hub: Hub, target: Target, outcome: Outcome) -> None:
        self._connection = connection
        self._hub = hub
        self._target = target
        self._subscription = target.subscription
        self._outcome = outcome
        self._given = 0

    async def run(self) -> None:
        try:
            await self._replay()
        finally:
            if not self._target.is_member or self._subscription.ends_at is not None:
                self._hub.depart(self._subscription)
        self._subscription.is_live = True

    async def _replay(self) -> None:
        while (stretch := self._next_stretch()) is not None:
            await self._connection.has_room()
            after = self._after(stretch)
            events = await self._read(after, stretch) if self._given < EVENTS_MAX else []
            if self._after(stretch) != after:
                continue  # a sync has set the position back meanwhile
            if not events:
                self._leave_out_the_rest(stretch)  # more than may be replayed: the client syncs on or loads history
                continue
            if events[0].seq > after + 1:
                self._pass_over_purged(events[0].seq)
            await self._give(events, stretch)

    def _after(self, stretch: Stretch) -> int:
        return max(self._subscription.position, stretch.from_seq - 1)

    def _next_stretch(self) -> Stretch | None:
        """Return the stretch that the next event to give lies in, with its present end, or None when all is given."""
        position = self._subscription.position
        for stretch in self._target.stretches:
            end = self._end() if stretch.to_seq is None else stretch.to_seq
            if position < end:
                return stretch._replace(to_seq=end)
        return None

    def _end(self) -> int:
        if self._subscription.ends_at is not None:
            return self._subscription.ends_at
        room = self._hub.rooms.get(self._subscription.conversation_id)
        return max(self._target.end, room.last_seq if room else 0)

    async def _read(self, after: int, stretch: Stretch) -> list[LiveEvent]:
        while True:
            try:
                return await self._hub.read_log(
                    self._subscription.conversation_id,
                    after=after,
                    limit=min(PAGE_EVENTS, EVENTS_MAX - self._given),
                    until=stretch.to_seq,
                    viewer_id=self._connection.user_id,
                )
            except ServerBusy:
                await asyncio.sleep(RETRY_SECONDS)

    async def _give(self, events: list[LiveEvent], stretch: Stretch) -> None:
        subscription = self._subscription
        subscription.visible_from = max(stretch.visible_from, self._target.cleared_seq + 1)
        for event in events:
            before = self._after(stretch)
            if self._connection.is_half_full:
                await self._connection.has_room()
            await self._hub.settled(event.command_id)
            if self._after(stretch) != before:
                return  # set back while waiting
            subscription.give(event)
            self._given += 1
            self._outcome.delivered += 1
        self._hub.positions.moved.add(subscription.conversation_id)

    def _pass_over_purged(self, first_kept_seq: int) -> None:
        """Go on at the oldest event that is kept: what was before it nobody can be given any more."""
        self._subscription.position = first_kept_seq - 1
        self._name_incomplete()

    def _leave_out_the_rest(self, stretch: Stretch) -> None:
        subscription = self._subscription
        if subscription.complete_until is None:
            subscription.complete_until = subscription.position
        self._name_incomplete()
        subscription.position = stretch.to_seq or subscription.position

    def _name_incomplete(self) -> None:
        if self._subscription.conversation_id not in self._outcome.incomplete:
            self._outcome.incomplete.append(self._subscription.conversation_id)
