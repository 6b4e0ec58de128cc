"""Who is where in which conversation's log: the hub's bookkeeping, without any I/O.

A `Room` is a conversation that sockets of this worker care about, and how far this worker has seen its log. Each
connection in it has a `Subscription` with a position of its own. Live events, replays and replies all pass through
`Subscription.give`, which is why one connection sees one conversation in order and each event once.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Protocol

from messaging.delivery.events import skipped
from messaging.delivery.news import LiveEvent


class Listener(Protocol):
    """A connection as the hub sees it."""

    @property
    def client_id(self) -> str:
        """The id of the connection."""

    @property
    def user_id(self) -> str:
        """Whose it is, as on the wire."""

    @property
    def is_acknowledging(self) -> bool:
        """Whether what it has received counts as delivered only once it says so."""

    def put(self, frame: bytes, conversation_id: str = "", seq: int = 0) -> None:
        """Queue a frame; events say where they stand, so that what was never written is known."""

    def put_ephemeral(self, frame: bytes) -> None:
        """Queue a frame that may be dropped when the connection reads slowly."""

    def first_unwritten(self, conversation_id: str) -> int | None:
        """Return the seq of the first event of a conversation that has not reached the socket, if any."""


@dataclass(slots=True, eq=False)
class Subscription:
    """One connection's place in one conversation."""

    connection: Listener
    conversation_id: str
    position: int  # the last seq given, or the one a replay goes on from
    visible_from: int  # the first seq whose message this user may see
    is_live: bool = True  # False while a replay is under way: live events are in the log and wait there
    complete_until: int | None = None  # set when a replay left events out: nothing after it counts as delivered
    ends_at: int | None = None  # the last seq of a membership that ended while a replay was under way
    recorded: int = 0  # the delivered position that the database has from here
    replies: dict[int, bytes] = field(default_factory=dict)  # own requests' replies by the seq whose event they replace

    def give(self, event: LiveEvent) -> None:
        """Hand the connection its next event, or the reply that stands in its place."""
        self.position = event.seq
        frame = self.replies.pop(event.seq, None) if self.replies else None
        self.connection.put(frame or self._form_of(event), event.conversation_id, event.seq)

    def delivered(self) -> int:
        """Return the seq up to which everything has been written to the socket."""
        reached = self.position if self.complete_until is None else min(self.position, self.complete_until)
        unwritten = self.connection.first_unwritten(self.conversation_id)
        return reached if unwritten is None else min(reached, unwritten - 1)

    def _form_of(self, event: LiveEvent) -> bytes:
        user_id = self.connection.user_id
        if event.subject_seq and (event.subject_seq < self.visible_from or user_id in (event.hidden_for or ())):
            return skipped(event.conversation_id, event.seq)
        if event.bare_frame is None:
            return event.frame
        may_see = event.reply_seq >= self.visible_from and user_id not in (event.quote_hidden_for or ())
        return event.frame if may_see else event.bare_frame


@dataclass(slots=True, eq=False)
class Room:
    """One conversation as far as this worker has seen its log."""

    conversation_id: str
    last_seq: int  # everything up to here has been given to all live subscriptions
    heard_seq: int = 0  # the highest seq that anything has told of; beyond last_seq there is a gap to read
    is_catching_up: bool = False
    subscriptions: dict[str, Subscription] = field(default_factory=dict)  # by client id

    @property
    def is_behind(self) -> bool:
        """Whether the log holds events that this worker has not seen."""
        return self.heard_seq > self.last_seq

    def hear(self, seq: int) -> bool:
        """Note that the log has reached `seq`; return whether that leaves something to read."""
        self.heard_seq = max(self.heard_seq, seq)
        return self.is_behind

    def accept(self, event: LiveEvent) -> bool:
        """Give the next event to all live subscriptions, drop a seen one; False when one is missing before it."""
        if event.seq <= self.last_seq:
            return True
        if event.seq != self.last_seq + 1:
            self.hear(event.seq)
            return False
        self.last_seq = event.seq
        for subscription in self.subscriptions.values():
            # A replay, or a joining, may have brought this one further than the room.
            if subscription.is_live and subscription.position < event.seq:
                subscription.give(event)
        return True

    def drop_users(self, user_ids: Iterable[str]) -> list[Subscription]:
        """Remove the subscriptions of users whose membership has ended, and return them."""
        gone = set(user_ids)
        dropped = [each for each in self.subscriptions.values() if each.connection.user_id in gone]
        for subscription in dropped:
            del self.subscriptions[subscription.connection.client_id]
        return dropped
