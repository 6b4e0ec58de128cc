"""Reading the event log: events as frames, rendered from the rows as they are now, so that nothing deleted is replayed.

What was just appended and what is caught up on are rendered alike: both are `LiveEvent`s to the hub.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import msgspec
from django.contrib.auth import get_user_model
from django.db.models import F
from msgspec import UNSET

from messaging.delivery import rendering
from messaging.delivery.news import LiveEvent
from messaging.delivery.profiles import UserKey, profiles_of
from messaging.delivery.rendering import MessageRow
from messaging.models import Conversation, Event, Message
from messaging.protocol.envelope import encode
from messaging.schemas.messages import MentionOf, ReplyTo
from messaging.schemas.wire import Profile, Skipped, wire_time

MESSAGE_EVENTS = frozenset({"new_message", "new_group_message", "new_announcement"})
EDIT_EVENT = "message_edited"


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
