"""The event log: every durable event is appended here, under its conversation's lock, and read from here in order.

`append` gives the next seq in the transaction that makes the event true. `read` renders events from the rows as they
are now, so that nothing deleted is ever replayed. Both yield `LiveEvent`s: what was just written and what is caught
up on are the same to the hub.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import msgspec
from django.contrib.auth import get_user_model
from django.db import connection
from django.db.models import F
from msgspec import UNSET

from messaging.delivery import rendering
from messaging.delivery.news import Hint, LiveEvent, News
from messaging.delivery.profiles import UserKey, profiles_of
from messaging.delivery.publishing import publish_after_commit
from messaging.delivery.rendering import MessageRow
from messaging.models import Conversation, Event, Message
from messaging.protocol.envelope import encode
from messaging.schemas.messages import MentionOf, ReplyTo
from messaging.schemas.wire import Profile, Skipped, wire_time

MESSAGE_EVENTS = frozenset({"new_message", "new_group_message", "new_announcement"})
EDIT_EVENT = "message_edited"


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
        record.news.extend(read(str(conversation.pk), after=conversation.last_seq - 1, limit=1))
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


class _Row(NamedTuple):
    conversation_id: uuid.UUID
    seq: int
    type: str
    message_id: uuid.UUID | None
    subject_seq: int | None
    origin_id: uuid.UUID | None
    data: dict[str, Any] | None
    created_at: dt.datetime
    kind: str


_EVENT_FIELDS = (*_Row._fields[:-1], "conversation__kind")


def read(
    conversation_id: str,
    *,
    after: int,
    limit: int,
    until: int | None = None,
    viewer: UserKey | None = None,
) -> list[LiveEvent]:
    """Return the events of a conversation after a seq, in order, as they read now; at most six queries.

    Args:
        conversation_id: whose log.
        after: the last seq that is known.
        limit: how many at the most.
        until: the last seq wanted.
        viewer: the one reader it is for, when it is for one; then deletions of others are not looked up.

    """
    events = Event.objects.filter(conversation_id=conversation_id, seq__gt=after).order_by("seq")
    if until is not None:
        events = events.filter(seq__lte=until)
    rows = [_Row._make(row) for row in events.values_list(*_EVENT_FIELDS)[:limit]]
    return render(rows, viewer=viewer)


def render(rows: Sequence[_Row], *, viewer: UserKey | None) -> list[LiveEvent]:
    """Return events as frames with what decides who sees less of them."""
    page = _Page.of(rows, viewer)
    return [page.event(row) for row in rows]


@dataclass(slots=True)
class _Page:
    """What the events of one page refer to, read in one query for each kind of thing."""

    messages: dict[uuid.UUID, MessageRow]
    contents: dict[uuid.UUID, str | None]
    people: dict[str, Profile]
    senders: dict[UserKey, Profile]
    quotes: dict[uuid.UUID, rendering.Quote]
    mentions: dict[tuple[uuid.UUID, int], list[MentionOf]]
    deleted_by: dict[uuid.UUID, list[str]]

    @classmethod
    def of(cls, rows: Sequence[_Row], viewer: UserKey | None) -> _Page:
        ids = {row.message_id for row in rows if row.message_id}
        shown = {row.message_id for row in rows if row.type in MESSAGE_EVENTS or row.type == EDIT_EVENT}
        found = (
            Message.objects.filter(pk__in=[key for key in shown if key]).values_list(*rendering.ROW_FIELDS)
            if shown
            else ()
        )
        messages = {row.id: row for row in rendering.rows_of(found)}
        contents = {key: rendering.open_content(row) for key, row in messages.items()}
        quotes = rendering.quotes_of(messages.values(), contents.values())
        mentioning = [row for key, row in messages.items() if "@" in (contents[key] or "")]
        return cls(
            messages=messages,
            contents=contents,
            people=_people_of(rows),
            senders=profiles_of(row.sender_id for row in messages.values()),
            quotes=quotes,
            mentions=rendering.mentions_of(mentioning),
            deleted_by=rendering.deleted_by(ids | quotes.keys(), viewer),
        )

    def event(self, row: _Row) -> LiveEvent:
        data = row.data or {}
        # Other events about a message of this page show no message: only those that carry it are cut for their readers.
        shows_message = row.type in MESSAGE_EVENTS or row.type == EDIT_EVENT
        message = self.messages.get(row.message_id) if row.message_id and shows_message else None
        quote = self.quotes.get(message.reply_to_id) if message and message.reply_to_id else None
        has_bare = quote is not None and quote.excerpt is not None and row.type in MESSAGE_EVENTS
        return LiveEvent(
            conversation_id=str(row.conversation_id),
            seq=row.seq,
            frame=self._frame(row, data, message, quote, may_see_quote=True),
            command_id=self._command_id(row),
            subject_seq=row.subject_seq or 0,
            hidden_for=self.deleted_by.get(row.message_id) if row.message_id else None,
            reply_seq=quote.seq if quote else 0,
            bare_frame=self._frame(row, data, message, quote, may_see_quote=False) if has_bare else None,
            quote_hidden_for=self.deleted_by.get(message.reply_to_id) if message and message.reply_to_id else None,
            joined=data.get("joined") or _first_joiners(row),
            joined_sees_from=1 if row.kind == Conversation.Kind.COMMUNITY else row.seq,
            left=data.get("left"),
        )

    @staticmethod
    def _command_id(row: _Row) -> str | None:
        command_id = row.message_id if row.type in MESSAGE_EVENTS else row.origin_id
        return None if command_id is None else str(command_id)

    def _frame(
        self,
        row: _Row,
        data: dict[str, Any],
        message: MessageRow | None,
        quote: rendering.Quote | None,
        *,
        may_see_quote: bool,
    ) -> bytes:
        fields = {
            "type": row.type,
            "conversationId": str(row.conversation_id),
            "groupId": rendering.group_id_of(str(row.conversation_id), row.kind),
            "seq": row.seq,
            "timestamp": wire_time(row.created_at),
            **data.get("wire", {}),
        }
        if shown := data.get("people"):
            profiles = [msgspec.to_builtins(self.people[key]) for key in shown["keys"]]
            for profile, beside in zip(profiles, shown["fields"], strict=False):
                profile.update(beside)
            fields[shown["name"]] = profiles if shown["list"] else profiles[0]
        if message is not None and row.type == EDIT_EVENT:
            fields |= self._edit(message)
        elif message is not None:
            quoted = rendering.reply_to(quote, may_see=may_see_quote) if quote else None
            fields["message"] = self._view(message, quoted)
        return encode({name: value for name, value in fields.items() if value is not UNSET})

    def _view(self, message: MessageRow, quoted: ReplyTo | None) -> msgspec.Struct:
        return rendering.view_of(
            message,
            self.contents[message.id],
            self.senders[message.sender_id],
            quoted=quoted,
            mentions=self.mentions.get((message.conversation_id, message.seq), []),
            reactions=[],  # their events follow
        )

    def _edit(self, message: MessageRow) -> dict[str, Any]:
        is_deleted, content = message.deleted_at is not None, self.contents[message.id]
        return {
            "messageId": str(message.id),
            "content": content,
            "isUnreadable": True if rendering.is_unreadable(message, content) else UNSET,
            "editedAt": None if message.edited_at is None else wire_time(message.edited_at),
            "mentions": [] if is_deleted else self.mentions.get((message.conversation_id, message.seq), []),
        }


def skipped(conversation_id: str, seq: int) -> bytes:
    """Return what a reader gets in the place of an event about a message that they may not see."""
    return encode(Skipped(conversation_id=conversation_id, seq=seq))


def _first_joiners(row: _Row) -> list[str] | None:
    """Return the two people of a direct conversation for its first event: nothing else tells their workers of it."""
    if row.seq != 1 or row.kind != Conversation.Kind.DIRECT:
        return None
    return [str(key) for key in participant_keys(str(row.conversation_id))]


def participant_keys(conversation_id: str) -> list[UserKey]:
    """Return the keys of everyone who is in a conversation now."""
    found = Conversation.objects.filter(pk=conversation_id, participants__intervals__to_seq=None)
    return list(found.values_list(F("participants__user_id"), flat=True))


def _people_of(rows: Sequence[_Row]) -> dict[str, Profile]:
    """Return the profiles shown in these events by their keys as text, which is how the log keeps them."""
    texts = {key for row in rows for key in ((row.data or {}).get("people") or {}).get("keys", ())}
    if not texts:
        return {}
    to_key = get_user_model()._meta.pk.to_python  # noqa: SLF001
    return {str(key): profile for key, profile in profiles_of(to_key(text) for text in texts).items()}
