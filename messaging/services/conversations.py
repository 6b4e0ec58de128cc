"""Conversations: finding them, starting direct ones, and reading their messages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import msgspec
from django.db.models import Exists, OuterRef, QuerySet, Subquery

from messaging.delivery import rendering
from messaging.delivery.doors import snapshot
from messaging.delivery.pages import MESSAGES_MAX, cut, newest_page
from messaging.delivery.profiles import UserKey, profile_of
from messaging.delivery.rendering import MessageRow
from messaging.delivery.rows import Pair
from messaging.delivery.storage import rows
from messaging.errors import AccessDenied, NotFound, UserBlocked
from messaging.models import Conversation, Interval, Message, MessageDeletion, Participant
from messaging.protocol.errors import ValidationFailed
from messaging.schemas.conversations import ConversationStarted, Typing
from messaging.schemas.messages import GetMessages, Messages, MessageView
from messaging.services.people import access_user, is_blocked, lock_direct_conversation

PAGE_BYTES_MAX = 1024 * 1024  # of content in UTF-8
STARTED_MESSAGES = 50


class Place(NamedTuple):
    """A caller's place in a conversation that they may read now."""

    conversation_id: str
    kind: str
    last_seq: int
    visible_from: int  # the first seq whose message they may see
    read_seq: int
    has_hidden: bool  # whether they deleted messages of it for themselves
    participant: Participant


def access_conversation(caller: UserKey, conversation_id: str) -> Place:
    """Return the caller's place in a conversation that they are a member of.

    Raises:
        NotFound: there is none, they are no member, or it is deleted; all in the same words.
        AccessDenied: they are no member of a public community.

    """
    participants = Participant.objects.select_related("conversation").annotate(
        joined_seq=Subquery(Interval.objects.filter(participant=OuterRef("pk"), to_seq=None).values("from_seq")),
        has_hidden=Exists(MessageDeletion.objects.filter(user_id=caller, message__conversation_id=conversation_id)),
    )
    participant = participants.filter(conversation_id=conversation_id, user_id=caller).first()
    if participant is None or participant.joined_seq is None:
        raise AccessDenied if _is_public(conversation_id) else NotFound
    conversation = participant.conversation
    if conversation.state == Conversation.State.DELETED:
        raise NotFound
    joined_seq = 1 if conversation.kind == Conversation.Kind.COMMUNITY else participant.joined_seq
    return Place(
        conversation_id=conversation_id,
        kind=conversation.kind,
        last_seq=conversation.last_seq,
        visible_from=max(joined_seq, participant.cleared_seq + 1),
        read_seq=participant.read_seq,
        has_hidden=participant.has_hidden,
        participant=participant,
    )


def _is_public(conversation_id: str) -> bool:
    public = Conversation.objects.filter(pk=conversation_id, is_public=True)
    return public.exclude(state=Conversation.State.DELETED).exists()


def access_direct_conversation(caller: UserKey, recipient_id: str) -> Place | None:
    """Return the caller's place in the conversation with somebody, or None while they have none.

    Raises:
        ValidationFailed: it is the caller.
        NotFound: there is no such user, or they are inactive.

    """
    other = access_user(recipient_id, caller=caller, field="recipientId")
    pair = Pair.of(caller, other.pk)
    conversation_id = rows().find_direct([pair]).get(pair)
    return None if conversation_id is None else access_conversation(caller, conversation_id)


def start_conversation(caller: UserKey, recipient_id: str) -> ConversationStarted:
    """Open the direct conversation with somebody, made if missing, with its newest messages."""
    other = access_user(recipient_id, caller=caller, field="recipientId")
    if is_blocked(caller, other.pk):
        raise UserBlocked
    conversation = lock_direct_conversation(caller, other.pk)
    place = access_conversation(caller, str(conversation.pk))
    views, has_more = _page(caller, place, GetMessages(limit=STARTED_MESSAGES))
    return ConversationStarted(
        conversation_id=place.conversation_id,
        recipient=profile_of(other),
        messages=views,
        has_more=has_more,
        last_seq=place.last_seq,
        read_seq=place.read_seq,
    )


def get_messages(caller: UserKey, request: GetMessages) -> Messages:
    """Return a page of a conversation's messages as the caller may see them, in chronological order.

    Raises:
        ValidationFailed: not exactly one conversation is named, or more than one place to page from.
        NotFound: the caller is no member of it.

    """
    _check_page(request)
    with snapshot():
        place = access_named(caller, request)
        if place is None:
            return Messages(conversation_id="", messages=[], has_more=False)
        views, has_more = _page(caller, place, request)
        return Messages(conversation_id=place.conversation_id, messages=views, has_more=has_more)


def count_messages(caller: UserKey, request: GetMessages) -> int:
    """Return how many messages of a conversation the caller may see; raises what `get_messages` does."""
    with snapshot():
        place = access_named(caller, request)
        return 0 if place is None else visible_messages(caller, place).count()


def _check_page(request: GetMessages) -> None:
    pages = {"before": request.before, "after": request.after, "offset": request.offset}
    given = [name for name, value in pages.items() if value is not None]
    if len(given) > 1:
        raise ValidationFailed("name only one of before, after and offset", field=given[1])


def access_named(caller: UserKey, request: GetMessages | Typing) -> Place | None:
    """Return the caller's place in what a request names, or None while they have no conversation with that person.

    Raises:
        ValidationFailed: not exactly one conversation is named, or the caller.
        NotFound: the caller is no member of it, or there is no such user.

    """
    named = (request.conversation_id, request.recipient_id, request.group_id)
    if sum(value is not None for value in named) != 1:
        raise ValidationFailed("name exactly one of conversationId, recipientId and groupId", field="conversationId")
    if request.recipient_id is not None:
        return access_direct_conversation(caller, request.recipient_id)
    place = access_conversation(caller, request.conversation_id or request.group_id or "")
    if request.group_id is not None and place.kind == Conversation.Kind.DIRECT:
        raise NotFound
    return place


def visible_messages(caller: UserKey, place: Place) -> QuerySet[Message]:
    """Return the messages of a conversation that the caller may see, tombstones too."""
    hidden = MessageDeletion.objects.filter(message_id=OuterRef("pk"), user_id=caller)
    return Message.objects.filter(~Exists(hidden), conversation_id=place.conversation_id, seq__gte=place.visible_from)


def _page(caller: UserKey, place: Place, request: GetMessages) -> tuple[Sequence[MessageView | msgspec.Raw], bool]:
    """Return the messages of a page in chronological order, and whether there are more beyond it."""
    is_newest = request.before is None and request.after is None and not request.offset
    if is_newest and request.limit < MESSAGES_MAX:  # of a whole page nobody knows whether more is behind it
        kept = _kept_page(caller, place, limit=request.limit)
        if kept is not None:
            return kept
    messages = visible_messages(caller, place)
    if request.after is not None:
        messages = messages.filter(seq__gt=request.after).order_by("seq")
    else:
        messages = messages.order_by("-seq")
    if request.before is not None:
        messages = messages.filter(seq__lt=request.before)
    start = request.offset or 0
    found = rendering.rows_of(messages.values_list(*rendering.ROW_FIELDS)[start : start + request.limit + 1])
    page = _within_bytes(found[: request.limit])
    views = rendering.page_views(sorted(page, key=lambda row: row.seq), caller, visible_from=place.visible_from)
    return views, len(found) > len(page)


def _kept_page(caller: UserKey, place: Place, *, limit: int) -> tuple[list[msgspec.Raw], bool] | None:
    """Return the newest page as it is kept ready, or None if it is not, or does not reach far enough."""
    page = newest_page(place.conversation_id, place.last_seq)
    if page is None:
        return None
    hidden: set[str] = set()
    if place.has_hidden:
        deletions = MessageDeletion.objects.filter(user_id=caller, message__conversation_id=place.conversation_id)
        hidden = {str(key) for key in deletions.values_list("message_id", flat=True)}
    return cut(page, visible_from=place.visible_from, hidden=hidden, limit=limit, bytes_max=PAGE_BYTES_MAX)


def _within_bytes(found: list[MessageRow]) -> list[MessageRow]:
    """Return as many messages as stay under the size of a page; sealed content is a little longer than its text."""
    size = 0
    for count, row in enumerate(found):
        size += len(row.sealed_content or b"")
        if size > PAGE_BYTES_MAX and count:
            return found[:count]
    return found
