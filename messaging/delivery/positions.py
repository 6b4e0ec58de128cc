"""How far each user has been given each conversation by this worker, until it is recorded in the database.

Positions only grow. They are collected in bulk every few seconds, never written once per message and recipient.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from messaging.delivery.rooms import Listener, Room, Subscription


class DeliveredPositions:
    """The delivered positions of one worker."""

    def __init__(self, rooms: Mapping[str, Room]) -> None:
        """Start with none; `rooms` are the hub's, by conversation."""
        self.moved: set[str] = set()  # conversations in which positions have moved since they were last collected
        self._rooms = rooms
        self._unrecorded: dict[tuple[str, str], int] = {}  # by conversation and user
        self._recording: dict[tuple[str, str], int] = {}  # the same, on their way into the database
        self._unwritten: set[str] = set()  # conversations of which some connection's outbox still holds events

    def delivered(self, user_id: str, conversation_id: str) -> int:
        """Return how far any connection of a user, open or just closed, has received a conversation on this worker."""
        ours = [each for each in self._subscriptions(conversation_id) if each.connection.user_id == user_id]
        reached = [each.delivered() for each in ours if not each.connection.is_acknowledging]
        key = (conversation_id, user_id)
        return max(0, self._unrecorded.get(key, 0), self._recording.get(key, 0), *reached)

    def acknowledge(self, session: Listener, cursors: Mapping[str, int]) -> None:
        """Count what a client acknowledges as delivered, as far as it was given to it."""
        for conversation_id, seq in cursors.items():
            room = self._rooms.get(conversation_id)
            if room is not None and (subscription := room.subscriptions.get(session.client_id)) is not None:
                self._raise(conversation_id, session.user_id, min(seq, subscription.delivered()))

    def mark(self, subscription: Subscription) -> None:
        """Count what a subscription has written to its connection, unless its client acknowledges by itself."""
        connection = subscription.connection
        if connection.is_acknowledging:
            return
        if connection.first_unwritten(subscription.conversation_id) is not None:
            self._unwritten.add(subscription.conversation_id)
        if (delivered := subscription.delivered()) > subscription.recorded:
            subscription.recorded = delivered
            self._raise(subscription.conversation_id, connection.user_id, delivered)

    def collect(self) -> list[tuple[str, str, int]]:
        """Return the positions that have moved, (conversation, user id, seq), and forget that they have."""
        for conversation_id in self.moved:
            for subscription in self._subscriptions(conversation_id):
                self.mark(subscription)
        self.moved, self._unwritten = self._unwritten, set()
        self._recording, self._unrecorded = self._unrecorded, {}
        return [(conversation, user, seq) for (conversation, user), seq in self._recording.items()]

    def give_back(self, positions: Iterable[tuple[str, str, int]]) -> None:
        """Take collected positions back: they could not be recorded."""
        for conversation_id, user_id, seq in positions:
            self._raise(conversation_id, user_id, seq)

    def _raise(self, conversation_id: str, user_id: str, seq: int) -> None:
        key = (conversation_id, user_id)
        self._unrecorded[key] = max(seq, self._unrecorded.get(key, 0))

    def _subscriptions(self, conversation_id: str) -> Iterable[Subscription]:
        room = self._rooms.get(conversation_id)
        return () if room is None else room.subscriptions.values()
