"""What the writer reads and writes, as plain values, and the interface of the two ways to do it.

`rows_postgres` speaks psycopg with arrays, a statement for each table whatever the batch; `rows_portable` speaks the
ORM. One suite of tests runs over both.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from messaging.delivery.profiles import UserKey
from messaging.delivery.rendering import MessageRow


class Pair(NamedTuple):
    """Two people in the order of their keys as text: what a direct conversation is found by."""

    first: UserKey
    second: UserKey

    @classmethod
    def of(cls, one: UserKey, other: UserKey) -> Pair:
        """Return the pair, the same whoever comes first."""
        return cls(*sorted((one, other), key=str))

    @property
    def key(self) -> str:
        """The `pair_key` of their conversation."""
        return f"{self.first} {self.second}"


@dataclass(slots=True)
class LockedConversation:
    """A conversation's row under its lock; `last_seq` counts on as the batch appends."""

    id: str
    kind: str
    last_seq: int
    posting: str
    state: str
    is_public: bool


class Member(NamedTuple):
    """The sender's place in the conversation they write to."""

    is_admin: bool
    muted_until: dt.datetime | None
    visible_from: int


class Peer(NamedTuple):
    """The other person of a direct conversation, as its sender stands to them."""

    key: UserKey
    is_active: bool
    is_blocked: bool  # either way
    is_followed: bool  # by the sender


class Known(NamedTuple):
    """A message that a command's client id, or the command itself in an earlier try, has made already."""

    row: MessageRow
    sealed_fingerprint: bytes | None


@dataclass(slots=True)
class Wanted:
    """What a batch has to know: distinct values, of all its commands together."""

    conversation_ids: set[str] = field(default_factory=set)
    senders: set[tuple[str, UserKey]] = field(default_factory=set)  # (conversation, sender)
    client_ids: set[tuple[UserKey, str]] = field(default_factory=set)  # (sender, clientMessageId)
    message_ids: set[str] = field(default_factory=set)  # of commands that are being tried again
    quoted_ids: set[str] = field(default_factory=set)
    names: set[tuple[str, str]] = field(default_factory=set)  # (conversation, username) mentioned


@dataclass(slots=True)
class Facts:
    """What the database says to that, read under the locks."""

    moment: dt.datetime
    conversations: dict[str, LockedConversation]  # those locked
    held: frozenset[str]  # conversations that another transaction holds; what is in neither does not exist
    members: dict[tuple[str, UserKey], Member]
    peers: dict[tuple[str, UserKey], Peer]  # by (conversation, sender)
    known_by_client_id: dict[tuple[UserKey, str], Known]
    known_by_id: dict[str, Known]
    quoted: dict[str, MessageRow]
    quoted_deleted_by: dict[str, list[str]]  # users who deleted a quoted message for themselves
    named: dict[tuple[str, str], UserKey]  # participants by (conversation, username)


class NewRow(NamedTuple):
    """A message to insert, with its event."""

    message_id: str
    conversation_id: str
    seq: int
    sender: UserKey
    kind: str
    key_id: int
    sealed_content: bytes
    sealed_fingerprint: bytes | None
    client_message_id: str | None
    reply_to_id: str | None
    event_type: str


class NewMention(NamedTuple):
    """A mention to insert; `user` is None for everyone."""

    conversation_id: str
    seq: int
    user: UserKey | None


class Rows(Protocol):
    """The writer's access to the tables; every method is called on the writer's own thread."""

    def transaction(self) -> AbstractContextManager[object]:
        """Open the transaction of a batch; leaving it commits."""

    def create_direct(self, pairs: Iterable[Pair]) -> dict[Pair, str]:
        """Return the conversation of each pair, made if missing; pairs with a user who does not exist are left out.

        Must be called inside the transaction and before `lock_and_read`, with its lock order in mind.
        """

    def lock_and_read(self, wanted: Wanted, *, wait: bool) -> Facts:
        """Lock the conversations in the order of their ids, then read everything wanted.

        Args:
            wanted: what to lock and read.
            wait: whether to wait up to a second for locks that others hold; else those conversations are left out.

        """

    def insert(
        self,
        rows: Sequence[NewRow],
        mentions: Sequence[NewMention],
        conversations: Sequence[LockedConversation],
        moment: dt.datetime,
    ) -> None:
        """Insert messages, events and mentions, and bring the conversations' ends up to date."""

    def find_direct(self, pairs: Iterable[Pair]) -> dict[Pair, str]:
        """Return the conversations of those pairs that have one; outside any transaction."""
