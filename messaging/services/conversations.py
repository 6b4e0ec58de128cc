"""Conversations: finding them, starting direct ones, and reading their messages."""

from __future__ import annotations

from django.db.models import Exists, OuterRef, QuerySet

from messaging.delivery import rendering
from messaging.delivery.doors import snapshot
from messaging.delivery.pages import MESSAGES_MAX, Page, cut, kept_page, new_page
from messaging.delivery.profiles import UserKey, profile_of
from messaging.delivery.rendering import MessageRow
from messaging.delivery.rows import Pair
from messaging.delivery.storage import rows
from messaging.errors import NotFound, UserBlocked
from messaging.models import Conversation, Message, MessageDeletion
from messaging.protocol.errors import ValidationFailed
from messaging.schemas.conversations import ConversationStarted, Typing
from messaging.schemas.messages import GetMessages, Messages
from messaging.services.people import access_user, is_blocked, lock_direct_conversation
from messaging.services.places import Place, access_conversation

PAGE_BYTES_MAX = 1024 * 1024  # of content in UTF-8
STARTED_MESSAGES = 50
_NO_MESSAGES = Messages(conversation_id="", messages=[], has_more=False)  # of a conversation that is still to be


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
    newest = _page(caller, place, GetMessages(limit=STARTED_MESSAGES))
    return ConversationStarted(
        conversation_id=place.conversation_id,
        recipient=profile_of(other),
        messages=newest.messages,
        has_more=newest.has_more,
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
    if _may_be_kept(request) and (kept := _kept(caller, request)) is not None:
        return kept
    with snapshot():
        place = access_named(caller, request)
        return _NO_MESSAGES if place is None else _page(caller, place, request)


def count_messages(caller: UserKey, request: GetMessages) -> int:
    """Return how many messages of a conversation the caller may see; raises what `get_messages` does."""
    with snapshot():
        place = access_named(caller, request)
        return 0 if place is None else _count(caller, place)


def _count(caller: UserKey, place: Place) -> int:
    """Return how many messages are visible: all, counted in their index alone, less those the caller deleted."""
    here = {"conversation_id": place.conversation_id, "seq__gte": place.visible_from}
    total = Message.objects.filter(**here).count()
    if not place.has_deletions:
        return total
    deleted = {f"message__{name}": value for name, value in here.items()}
    return total - MessageDeletion.objects.filter(user_id=caller, **deleted).count()


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


def _may_be_kept(request: GetMessages) -> bool:
    is_newest = request.before is None and request.after is None and not request.offset
    return is_newest and request.limit <= MESSAGES_MAX


def _kept(caller: UserKey, request: GetMessages) -> Messages | None:
    """Return the newest page if it is kept: without the two statements of a snapshot, since one tells that it holds."""
    place = access_named(caller, request)
    page = None if place is None else kept_page(place.conversation_id, place.version)
    return None if place is None or page is None else _cut(caller, place, page, request.limit)


def _page(caller: UserKey, place: Place, request: GetMessages) -> Messages:
    """Return a page of messages; must be called in the snapshot, or under the lock, in which the place was read."""
    if _may_be_kept(request):
        page = kept_page(place.conversation_id, place.version) or new_page(place.conversation_id, place.version)
        if (messages := _cut(caller, place, page, request.limit)) is not None:
            return messages
    return _read_page(caller, place, request)


def _cut(caller: UserKey, place: Place, page: Page, limit: int) -> Messages | None:
    """Return what the caller may see of the newest page, or None if it does not reach far enough."""
    hidden: set[str] = set()
    if place.has_deletions:
        deletions = MessageDeletion.objects.filter(user_id=caller, message_id__in=page.message_ids())
        hidden = {str(key) for key in deletions.values_list("message_id", flat=True)}
    found = cut(page, visible_from=place.visible_from, hidden=hidden, limit=limit, bytes_max=PAGE_BYTES_MAX)
    if found is None:
        return None
    return Messages(conversation_id=place.conversation_id, messages=found[0], has_more=found[1])


def _read_page(caller: UserKey, place: Place, request: GetMessages) -> Messages:
    """Return a page that is not kept."""
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
    return Messages(conversation_id=place.conversation_id, messages=views, has_more=len(found) > len(page))


def _within_bytes(found: list[MessageRow]) -> list[MessageRow]:
    """Return as many messages as stay under the size of a page; sealed content is a little longer than its text."""
    size = 0
    for count, row in enumerate(found):
        size += len(row.sealed_content or b"")
        if size > PAGE_BYTES_MAX and count:
            return found[:count]
    return found
