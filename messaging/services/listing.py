"""The list of somebody's conversations: at most ten queries, whatever is on the page."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple
from uuid import UUID

import msgspec
from django.db.models import BigIntegerField, Case, Exists, F, OuterRef, Q, QuerySet, Subquery, Value, When
from django.db.models.functions import Coalesce, Greatest
from msgspec import UNSET

from messaging.delivery import rendering
from messaging.delivery.doors import snapshot
from messaging.delivery.profiles import NOBODY, UserKey, profiles_of
from messaging.models import Conversation, Interval, Mention, Message, MessageDeletion, Participant
from messaging.schemas.conversations import Conversations, ConversationView, GetConversations
from messaging.schemas.messages import MessageView
from messaging.schemas.wire import Profile, wire_time
from messaging.services.cursors import cursor_of, moment, open_cursor
from messaging.services.guests import group_views
from messaging.services.people import blocked_with

COUNTED = (Message.Kind.TEXT, Message.Kind.ANNOUNCEMENT)
COUNT_MAX = 100_000  # messages of a conversation that are looked at for what is unread: twenty milliseconds


class _Row(NamedTuple):
    """A conversation of the caller, in the order of `_ROW_FIELDS`."""

    interval_id: int
    conversation_id: UUID
    kind: str
    last_seq: int
    read_seq: int
    visible_from: int
    last_message_id: UUID | None
    moved_at: dt.datetime


_ROW_FIELDS = (
    "id",
    "participant__conversation_id",
    "participant__conversation__kind",
    "participant__conversation__last_seq",
    "participant__read_seq",
    "visible_from",
    "last_message_id",
    "moved_at",
)


class _Peer(NamedTuple):
    """The other person of a direct conversation."""

    profile: Profile
    read_seq: int | None  # None while one has blocked the other
    delivered_seq: int | None


_NO_PEER = _Peer(NOBODY, None, None)


class _Counts(NamedTuple):
    """How much of a conversation is unread."""

    unread: int
    mentions: int


def get_conversations(caller: UserKey, request: GetConversations) -> Conversations:
    """Return a page of the caller's conversations, those with the newest message first.

    Direct conversations are listed once they hold a message that the caller may see, groups unless the caller has
    deleted them and nothing has been said since.

    Raises:
        ValidationFailed: the cursor is none of ours.

    """
    with snapshot():
        found = _listed(caller)
        if request.before is not None:
            moved_at, conversation_id = open_cursor(request.before, moment, UUID)
            earlier = Q(moved_at=moved_at, participant__conversation_id__lt=conversation_id)
            found = found.filter(Q(moved_at__lt=moved_at) | earlier)
        rows = [_Row._make(row) for row in found.values_list(*_ROW_FIELDS)[: request.limit + 1]]
        page, has_more = rows[: request.limit], len(rows) > request.limit
        return Conversations(
            conversations=_views(caller, page),
            has_more=has_more,
            next_cursor=cursor_of(page[-1].moved_at, page[-1].conversation_id) if has_more else None,
        )


def open_stretches(caller: UserKey) -> QuerySet[Any, Any]:
    """Return the open `Interval`s of the caller, with the first seq that they may see as `visible_from`."""
    is_open_history = When(participant__conversation__kind=Conversation.Kind.COMMUNITY, then=Value(1))
    return Interval.objects.filter(participant__user_id=caller, to_seq=None).annotate(
        visible_from=Greatest(
            Case(is_open_history, default=F("from_seq"), output_field=BigIntegerField()),
            F("participant__cleared_seq") + 1,
            output_field=BigIntegerField(),
        )
    )


def _visible(caller: UserKey) -> QuerySet[Message]:
    """Return the messages that the caller may see in the conversation of the outer query's stretch."""
    return Message.objects.filter(
        ~Exists(_deletions(caller)),
        conversation_id=OuterRef("participant__conversation_id"),
        seq__gte=OuterRef("visible_from"),
    )


def _listed(caller: UserKey) -> QuerySet[Any, Any]:
    """Return what the list shows, in its order."""
    newest = _visible(caller).order_by("-seq").values("pk")[:1]
    conversation = "participant__conversation__"
    listed: QuerySet[Any, Any] = (
        open_stretches(caller)
        .exclude(participant__conversation__state=Conversation.State.DELETED)
        .annotate(
            last_message_id=Subquery(newest),
            moved_at=Coalesce(f"{conversation}last_message_at", f"{conversation}created_at"),
        )
        .filter(
            Q(last_message_id__isnull=False)
            | (~Q(participant__conversation__kind=Conversation.Kind.DIRECT) & Q(participant__cleared_seq=0))
        )
        .order_by("-moved_at", "-participant__conversation_id")
    )
    return listed


def _views(caller: UserKey, page: Sequence[_Row]) -> list[ConversationView]:
    if not page:
        return []
    counts = _counts(caller, page)
    messages = _last_messages(caller, page)
    groups = group_views(caller, [row.conversation_id for row in page if row.kind != Conversation.Kind.DIRECT])
    peers = _peers(caller, [row.conversation_id for row in page if row.kind == Conversation.Kind.DIRECT])
    return [
        _view(
            row,
            counts[row.interval_id],
            messages.get(row.last_message_id),
            peers.get(row.conversation_id, _NO_PEER),
            groups.get(row.conversation_id),
        )
        for row in page
    ]


def _view(
    row: _Row, counts: _Counts, last_message: MessageView | None, peer: _Peer, group: msgspec.Struct | None
) -> ConversationView:
    conversation_id = str(row.conversation_id)
    is_direct = row.kind == Conversation.Kind.DIRECT
    return ConversationView(
        conversation_id=conversation_id,
        group_id=rendering.group_id_of(conversation_id, row.kind),
        kind=row.kind,
        peer=peer.profile if is_direct else UNSET,
        group=group or UNSET,
        last_message=last_message,
        last_seq=row.last_seq,
        read_seq=row.read_seq,
        unread_count=counts.unread,
        mention_count=counts.mentions,
        peer_read_seq=peer.read_seq,
        peer_delivered_seq=peer.delivered_seq,
        updated_at=wire_time(row.moved_at),
    )


def _counts(caller: UserKey, page: Sequence[_Row]) -> dict[int, _Counts]:
    """Return what is unread by stretch; two queries, which look at no more than `COUNT_MAX` rows of a conversation."""
    here = {"conversation_id": OuterRef("participant__conversation_id")}
    beyond = {"seq__gte": OuterRef("visible_from"), "seq__gt": OuterRef("participant__read_seq")}
    of_others = Case(When(sender_id=caller, then=Value(0)), default=Value(1))
    unread = _countable().filter(**here, **beyond).annotate(counts=of_others).values("counts")
    message = _countable().filter(conversation_id=OuterRef("conversation_id"), seq=OuterRef("seq"))
    is_unread = Exists(message.exclude(sender_id=caller).filter(~Exists(_deletions(caller))))
    mentions = Mention.objects.filter(Q(user_id=caller) | Q(user=None), is_unread, **here, **beyond)
    # Each message once, also one that mentions the caller and everyone.
    mentioning = mentions.annotate(counts=Value(1)).values("seq", "counts").distinct()
    found = (
        open_stretches(caller)
        .filter(pk__in=[row.interval_id for row in page])
        .annotate(unread=_sum(unread), mentioned=_sum(mentioning))
    )
    hidden = _hidden(caller, page)
    numbers = found.values_list("pk", "unread", "mentioned")
    return {key: _Counts(max(0, unread - hidden[key]), mentioned) for key, unread, mentioned in numbers}


def _countable() -> QuerySet[Message]:
    """Return the messages that may count as unread."""
    return Message.objects.filter(kind__in=COUNTED, deleted_at=None)


def _deletions(caller: UserKey) -> QuerySet[MessageDeletion]:
    """Return the caller's own deletion of the outer query's message."""
    return MessageDeletion.objects.filter(message_id=OuterRef("pk"), user_id=caller)


def _hidden(caller: UserKey, page: Sequence[_Row]) -> Counter[int]:
    """Return how many messages that would count the caller deleted for themselves, by stretch; one query.

    Subtracting them lets the others be counted in their index alone, at a tenth of the cost.
    """
    places = {row.conversation_id: row for row in page}
    deleted = MessageDeletion.objects.filter(user_id=caller, message__conversation_id__in=places).values("message_id")
    found = _countable().filter(pk__in=deleted).exclude(sender_id=caller).values_list("conversation_id", "seq")
    return Counter(
        place.interval_id
        for place, seq in ((places[key], seq) for key, seq in found)
        if seq > place.read_seq and seq >= place.visible_from
    )


class _Sum(Subquery):
    """The sum of the column `counts` of a subquery."""

    template = "(SELECT COALESCE(SUM(counted.counts), 0) FROM (%(subquery)s) AS counted)"
    output_field = BigIntegerField()


def _sum(rows: QuerySet[Any]) -> _Sum:
    """Return what the newest of some rows count, as part of another query."""
    return _Sum(rows.order_by("-seq")[:COUNT_MAX])


def _last_messages(caller: UserKey, page: Sequence[_Row]) -> dict[UUID | None, MessageView]:
    visible_from = {row.conversation_id: row.visible_from for row in page}
    found = Message.objects.filter(pk__in=[row.last_message_id for row in page if row.last_message_id])
    rows = rendering.rows_of(found.values_list(*rendering.ROW_FIELDS))
    views = rendering.page_views(rows, caller, visible_from=visible_from)
    return {row.id: view for row, view in zip(rows, views, strict=True)}


def _peers(caller: UserKey, conversation_ids: Sequence[UUID]) -> dict[UUID, _Peer]:
    """Return the other people of direct conversations; three queries at the most."""
    found = Participant.objects.filter(conversation_id__in=conversation_ids).exclude(user_id=caller)
    places = list(found.values_list("conversation_id", "user_id", "read_seq", "delivered_seq"))
    profiles = profiles_of(user for _, user, _, _ in places)
    blocked = blocked_with(caller, profiles.keys())
    return {
        conversation_id: _Peer(profiles[user], *((None, None) if user in blocked else (read_seq, delivered_seq)))
        for conversation_id, user, read_seq, delivered_seq in places
    }
