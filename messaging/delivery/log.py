"""The event log: every durable event but those of sending is appended here, under its conversation's lock.

`append` gives the next seq in the transaction that makes the event true; `events.read` renders it for who gets it.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from django.db import connection

from messaging.delivery import events
from messaging.delivery.news import Hint, News
from messaging.delivery.profiles import UserKey
from messaging.delivery.publishing import publish_after_commit
from messaging.models import Conversation, Event
from messaging.schemas.wire import wire_time


@dataclass(slots=True)
class Recording:
    """The events that one unit of work has appended, in order, for the hub once they are committed."""

    command_id: uuid.UUID | None = None  # stands in the first event of each conversation, so that a retry finds it
    news: list[News] = field(default_factory=list)
    _named: set[str] = field(default_factory=set)

    def name_for(self, conversation_id: str) -> uuid.UUID | None:
        """Return the command's id for the first event of a conversation, None for further ones."""
        if conversation_id in self._named:
            return None
        self._named.add(conversation_id)
        return self.command_id


_recording: ContextVar[Recording | None] = ContextVar("recording", default=None)


@contextmanager
def recording(command_id: uuid.UUID | None) -> Iterator[Recording]:
    """Collect what the block appends; whoever opened it publishes it after the commit."""
    record = Recording(command_id)
    token = _recording.set(record)
    try:
        yield record
    finally:
        _recording.reset(token)


class People(NamedTuple):
    """Users in an event's frame under a name of the wire, rendered from their rows when it is read."""

    name: str
    keys: Sequence[UserKey]
    is_list: bool = True
    fields: Sequence[dict[str, str]] = ()  # beside each one's profile, as they stand on the wire


class Subject(Protocol):
    """The message that an event is about."""

    @property
    def pk(self) -> Any:
        """Its id."""

    seq: int  # of the event that brought it


class Appended(NamedTuple):
    """Where an event stands."""

    seq: int
    timestamp: str


def now() -> dt.datetime:
    """Return the database's time; within a transaction, PostgreSQL's is that of its start."""
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("SELECT now()")
            moment: dt.datetime = cursor.fetchone()[0]
            return moment
        cursor.execute("SELECT STRFTIME('%Y-%m-%d %H:%M:%f', 'NOW')")
        return dt.datetime.fromisoformat(cursor.fetchone()[0]).replace(tzinfo=dt.UTC)


def append(
    conversation: Conversation,
    event_type: str,
    *,
    actor: UserKey | None,
    message: Subject | None = None,
    wire: dict[str, Any] | None = None,
    people: People | None = None,
    joined: Sequence[UserKey] = (),
    left: Sequence[UserKey] = (),
) -> Appended:
    """Append one event to a conversation's log.

    Must be called in a transaction that has locked the conversation's row, which is updated in place.

    Args:
        conversation: the locked row.
        event_type: its type on the wire.
        actor: who did it; None for the service itself.
        message: the message it is about, for events about one; its row must already be what readers shall see.
        wire: the event's further fields as they stand on the wire; never message text.
        people: users shown in the event by their profiles.
        joined: users whose membership begins with this event.
        left: users whose membership ends with it.

    """
    moment = now()
    conversation.last_seq += 1
    conversation.changed_at = moment
    conversation.save(update_fields=("last_seq", "changed_at"))
    data: dict[str, Any] = {}
    if wire:
        data["wire"] = wire
    if people:
        keys, fields = [str(key) for key in people.keys], list(people.fields)
        data["people"] = {"name": people.name, "keys": keys, "list": people.is_list, "fields": fields}
    if joined:
        data["joined"] = [str(key) for key in joined]
    if left:
        data["left"] = [str(key) for key in left]
    record = _recording.get()
    Event.objects.create(
        conversation=conversation,
        seq=conversation.last_seq,
        type=event_type,
        actor_id=actor,
        message_id=None if message is None else message.pk,
        subject_seq=None if message is None else message.seq,
        origin_id=None if record is None else record.name_for(str(conversation.pk)),
        data=data or None,
        created_at=moment,
    )
    if record is None:
        publish_after_commit(Hint(str(conversation.pk), conversation.last_seq))
    else:
        record.news.extend(events.read(str(conversation.pk), after=conversation.last_seq - 1, limit=1))
    return Appended(conversation.last_seq, wire_time(moment))


def announce(news: News) -> None:
    """Publish something ephemeral once the transaction in force, if any, has committed."""
    if (record := _recording.get()) is not None:
        record.news.append(news)
    else:
        publish_after_commit(news)


def was_committed(command_id: uuid.UUID) -> bool:
    """Return whether a command whose commit was never answered has happened after all."""
    return Event.objects.filter(origin_id=command_id).exists()
