"""Rows into what readers see: messages opened, with senders, quotes, mentions and reactions, a page at a time."""

from __future__ import annotations

import datetime as dt
import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple
from uuid import UUID

from django.db.models import Count, Q, Window
from django.db.models.functions import RowNumber
from msgspec import UNSET, UnsetType

from messaging.delivery.encryption import Place, Unreadable, keyring
from messaging.delivery.profiles import UserKey, profiles_of
from messaging.models import Conversation, Mention, Message, MessageDeletion, Reaction
from messaging.schemas.messages import MentionOf, MessageView, ReactionCount, ReplyTo
from messaging.schemas.wire import Profile, wire_time

logger = logging.getLogger(__name__)
EXCERPT_CHARACTERS = 100
REACTORS_SHOWN_MAX = 1_000  # of each emoji under a message; a community may have a hundred times as many


class MessageRow(NamedTuple):
    """The columns of a message that a view needs, in the order of `ROW_FIELDS`."""

    id: UUID
    conversation_id: UUID
    seq: int
    sender_id: UserKey | None
    sender_key: str
    kind: str
    key_id: int
    sealed_content: bytes | None
    client_message_id: str | None
    reply_to_id: UUID | None
    pinned_at: dt.datetime | None
    created_at: dt.datetime
    edited_at: dt.datetime | None
    deleted_at: dt.datetime | None
    conversation_kind: str


ROW_FIELDS = (*MessageRow._fields[:-1], "conversation__kind")


class SealedRow(NamedTuple):
    """The columns of a message that it takes to open it, under their names: half the time of a whole row."""

    id: UUID
    conversation_id: UUID
    sender_id: UserKey | None
    sender_key: str
    key_id: int
    sealed_content: bytes | None
    deleted_at: dt.datetime | None


class Quote(NamedTuple):
    """A message as another one quotes it."""

    message_id: str
    sender_key: str | None
    seq: int
    excerpt: str | None  # None on tombstones and what cannot be read
    is_unreadable: bool = False  # whether it is the latter


def rows_of(messages: Iterable[tuple[object, ...]]) -> list[MessageRow]:
    """Return what `values_list(*ROW_FIELDS)` yielded as rows."""
    return [MessageRow._make(row) for row in messages]


def open_content(row: MessageRow | SealedRow) -> str | None:
    """Return a message's text, or None if it is deleted or cannot be read, which is logged."""
    if row.deleted_at is not None:
        return None
    try:
        return _opened(row)
    except Unreadable:
        logger.error("message %s cannot be decrypted: wrong key, changed or moved", row.id)  # noqa: TRY400 — no trace
        return None


def _opened(row: MessageRow | SealedRow) -> str:
    # The sealed key outlives the account; while there is one, it has to be the one that the message is shown under.
    is_of_another = row.sender_id is not None and str(row.sender_id) != row.sender_key
    if row.sealed_content is None or is_of_another:
        raise Unreadable
    place = Place(str(row.id), str(row.conversation_id), row.sender_key)
    return keyring().open_text(row.key_id, bytes(row.sealed_content), place)


def group_id_of(conversation_id: str, kind: str) -> str | UnsetType:
    """Return the `groupId` that frames of this conversation carry: none in direct ones."""
    return UNSET if kind == Conversation.Kind.DIRECT else conversation_id


def quotes_of(rows: Iterable[MessageRow], contents: Iterable[str | None]) -> dict[UUID, Quote]:
    """Return what these messages quote, as far as it still exists: from among themselves, the rest by one query.

    Args:
        rows: the messages.
        contents: their texts, opened already; nothing is opened, and found unreadable, twice.

    """
    opened = {row.id: (row, text) for row, text in zip(rows, contents, strict=True)}
    wanted = {row.reply_to_id for row, _ in opened.values() if row.reply_to_id}
    quotes = {key: quote_of(*opened[key]) for key in wanted & opened.keys()}
    if missing := wanted - quotes.keys():
        others = rows_of(Message.objects.filter(pk__in=missing).values_list(*ROW_FIELDS))
        quotes |= {row.id: quote_of(row, open_content(row)) for row in others}
    return quotes


def quote_of(row: MessageRow, content: str | None) -> Quote:
    """Return a message as others quote it."""
    excerpt = None if content is None else content[:EXCERPT_CHARACTERS]
    sender_key = None if row.sender_id is None else row.sender_key
    return Quote(str(row.id), sender_key, row.seq, excerpt, is_unreadable(row, content))


def is_unreadable(row: MessageRow, content: str | None) -> bool:
    """Return whether a message that is opened has a text which cannot be read."""
    return content is None and row.deleted_at is None


def reply_to(quote: Quote, *, may_see: bool = True) -> ReplyTo:
    """Return a quote as a reader sees it."""
    excerpt = quote.excerpt if may_see and quote.excerpt is not None else UNSET
    return ReplyTo(message_id=quote.message_id, sender_id=quote.sender_key, excerpt=excerpt)


def mentions_of(rows: Sequence[MessageRow]) -> dict[tuple[UUID, int], list[MentionOf]]:
    """Return the mentions in these messages by (conversation, seq); one query, and one for names not remembered."""
    if not rows:
        return {}
    places = Q()
    by_conversation: dict[UUID, list[int]] = defaultdict(list)
    for row in rows:
        by_conversation[row.conversation_id].append(row.seq)
    for conversation_id, seqs in by_conversation.items():
        places |= Q(conversation_id=conversation_id, seq__in=seqs)
    found = list(Mention.objects.filter(places).order_by("id").values_list("conversation_id", "seq", "user_id"))
    people = profiles_of(user for _, _, user in found)
    mentions: dict[tuple[UUID, int], list[MentionOf]] = defaultdict(list)
    for conversation_id, seq, user in found:
        mentions[conversation_id, seq].append(mention_of(None if user is None else people[user]))
    return mentions


def mention_of(profile: Profile | None) -> MentionOf:
    """Return a mention of someone, or of everyone for None."""
    if profile is None:
        return MentionOf(type="everyone")
    return MentionOf(type="user", user_id=profile.user_id or UNSET, username=profile.username or UNSET)


def reactions_to(message_ids: Iterable[UUID]) -> dict[UUID, list[ReactionCount]]:
    """Return the reactions to these messages, counted, in the order of their first use; one query.

    Of an emoji that more than `REACTORS_SHOWN_MAX` people chose, the first of them are named.
    """
    alike = ("message_id", "emoji")
    found = (
        Reaction.objects.filter(message_id__in=set(message_ids))
        .annotate(
            count=Window(Count("*"), partition_by=alike),
            rank=Window(RowNumber(), partition_by=alike, order_by="id"),
        )
        .filter(rank__lte=REACTORS_SHOWN_MAX)
        .order_by("id")
    )
    counts: dict[UUID, dict[str, ReactionCount]] = defaultdict(dict)
    for message_id, emoji, user, count in found.values_list("message_id", "emoji", "user_id", "count"):
        reaction = counts[message_id].setdefault(emoji, ReactionCount(emoji=emoji, count=count, user_ids=[]))
        reaction.user_ids.append(str(user))
    return {message_id: list(by_emoji.values()) for message_id, by_emoji in counts.items()}


def deleted_by(message_ids: Iterable[UUID], viewer: UserKey | None = None) -> dict[UUID, list[str]]:
    """Return who deleted each of these messages for themselves, or only whether the viewer did; one query."""
    wanted = set(message_ids)
    if not wanted:
        return {}
    found = MessageDeletion.objects.filter(message_id__in=wanted)
    if viewer is not None:
        found = found.filter(user_id=viewer)
    users: dict[UUID, list[str]] = defaultdict(list)
    for message_id, user in found.values_list("message_id", "user_id"):
        users[message_id].append(str(user))
    return users


def view_of(
    row: MessageRow,
    content: str | None,
    sender: Profile,
    *,
    quoted: ReplyTo | None,
    mentions: list[MentionOf],
    reactions: list[ReactionCount],
) -> MessageView:
    """Return one message as a reader sees it; `content` is None when deleted or unreadable."""
    is_deleted = row.deleted_at is not None
    conversation_id = str(row.conversation_id)
    return MessageView(
        message_id=str(row.id),
        conversation_id=conversation_id,
        group_id=group_id_of(conversation_id, row.conversation_kind),
        seq=row.seq,
        kind=row.kind,
        sender=sender,
        content=content,
        client_message_id=row.client_message_id,
        reply_to=quoted,
        mentions=[] if is_deleted else mentions,
        reactions=[] if is_deleted else reactions,
        created_at=wire_time(row.created_at),
        edited_at=None if row.edited_at is None else wire_time(row.edited_at),
        is_edited=row.edited_at is not None,
        is_deleted=is_deleted,
        is_pinned=row.pinned_at is not None and not is_deleted,
        is_unreadable=True if is_unreadable(row, content) else UNSET,
    )


class Loaded(NamedTuple):
    """Messages with everything that their views show, the same for every reader."""

    rows: Sequence[MessageRow]
    contents: list[str | None]
    people: dict[UserKey, Profile]  # the senders
    quotes: dict[UUID, Quote]
    mentions: dict[tuple[UUID, int], list[MentionOf]]
    reactions: dict[UUID, list[ReactionCount]]

    def views(self, quoted: Callable[[Quote], ReplyTo]) -> list[MessageView]:
        """Return the views; `quoted` decides what is shown of a quoted message."""
        return [
            view_of(
                row,
                text,
                self.people[row.sender_id],
                quoted=quoted(quote) if (quote := self.quote_of(row)) is not None else None,
                mentions=self.mentions.get((row.conversation_id, row.seq), []),
                reactions=self.reactions.get(row.id, []),
            )
            for row, text in zip(self.rows, self.contents, strict=True)
        ]

    @property
    def is_readable(self) -> bool:
        """Whether everything that the views show could be read."""
        is_damaged = any(is_unreadable(row, text) for row, text in zip(self.rows, self.contents, strict=True))
        return not is_damaged and not any(quote.is_unreadable for quote in self.quotes.values())

    def quote_of(self, row: MessageRow) -> Quote | None:
        """Return what a message quotes, if it still exists."""
        return self.quotes.get(row.reply_to_id) if row.reply_to_id else None


def load(rows: Sequence[MessageRow]) -> Loaded:
    """Open messages and read what they show, in at most five queries whatever is on the page."""
    contents = [open_content(row) for row in rows]
    return Loaded(
        rows=rows,
        contents=contents,
        people=profiles_of(row.sender_id for row in rows),
        quotes=quotes_of(rows, contents),
        mentions=mentions_of([row for row, text in zip(rows, contents, strict=True) if text and "@" in text]),
        reactions=reactions_to(row.id for row in rows),
    )


def page_views(
    rows: Sequence[MessageRow], viewer: UserKey, *, visible_from: int | Mapping[UUID, int]
) -> list[MessageView]:
    """Return a page as one reader sees it, in at most six queries whatever is on it.

    Args:
        rows: messages that the viewer may see.
        viewer: the reader, for what they deleted for themselves.
        visible_from: the first seq they may see, in the one conversation or in each; excerpts of older messages are
            left out.

    """
    loaded = load(rows)
    hidden = {str(message_id) for message_id in deleted_by(loaded.quotes, viewer)}
    first = {row.reply_to_id: _first(visible_from, row) for row in rows if row.reply_to_id}

    def quoted(quote: Quote) -> ReplyTo:
        may_see = quote.seq >= first[UUID(quote.message_id)] and quote.message_id not in hidden
        return reply_to(quote, may_see=may_see)

    return loaded.views(quoted)


def _first(visible_from: int | Mapping[UUID, int], row: MessageRow) -> int:
    return visible_from if isinstance(visible_from, int) else visible_from[row.conversation_id]
