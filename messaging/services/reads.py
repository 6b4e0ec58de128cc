"""How far people have read, and what they have cleared away for themselves."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection

from messaging.delivery import log
from messaging.delivery.news import Cleared, ToUsers
from messaging.delivery.profiles import UserKey
from messaging.errors import NotFound
from messaging.models import Conversation, Participant
from messaging.protocol.envelope import encode
from messaging.protocol.errors import ValidationFailed
from messaging.schemas.conversations import ConversationDeleted, MarkRead, MessagesDelivered, MessagesRead
from messaging.services.messages import access_message_unlocked
from messaging.services.people import blocked_pairs, is_blocked, peer_of
from messaging.services.places import Place, access_conversation


def delivered_news(moved: Collection[tuple[str, str]]) -> list[ToUsers]:
    """Return what the other people of direct conversations are told of delivered positions; two queries.

    Args:
        moved: (conversation, user) of positions that have moved; groups among them are passed over.

    """
    places: dict[str, dict[str, tuple[UserKey, int]]] = defaultdict(dict)
    found = Participant.objects.filter(
        conversation__kind=Conversation.Kind.DIRECT, conversation_id__in={conversation for conversation, _ in moved}
    )
    for key, user, delivered_seq in found.values_list("conversation_id", "user_id", "delivered_seq"):
        places[str(key)][str(user)] = user, delivered_seq
    blocks = blocked_pairs({user for people in places.values() for user, _ in people.values()})
    news = []
    for conversation, user_id in moved:
        here = places.get(conversation, {})
        if user_id in here:
            user, seq = here[user_id]
            frame = MessagesDelivered(conversation_id=conversation, user_id=user_id, delivered_seq=seq)
            others = [name for name, (key, _) in here.items() if key != user and (key, user) not in blocks]
            news.append(ToUsers(others, encode(frame)))
    return news


def mark_read(caller: UserKey, request: MarkRead, *, client_id: str | None = None) -> MessagesRead:
    """Move the caller's read position on, never back and never beyond the end.

    Their other connections are told, and the other person of a direct conversation unless one has blocked the other.

    Raises:
        ValidationFailed: neither a conversation and a seq nor a message is named, or both.
        NotFound: the conversation or message is not the caller's to see.

    """
    place, seq = _position(caller, request)
    reached = min(seq, place.last_seq)
    behind = Participant.objects.filter(pk=place.participant_id, read_seq__lt=reached)
    if not behind.update(read_seq=reached):
        current = Participant.objects.values_list("read_seq", flat=True).get(pk=place.participant_id)
        return MessagesRead(conversation_id=place.conversation_id, user_id=str(caller), read_seq=current, changed=False)
    reply = MessagesRead(conversation_id=place.conversation_id, user_id=str(caller), read_seq=reached)
    frame = encode(reply)
    log.announce(ToUsers([str(caller)], frame, client_id))
    if place.kind == Conversation.Kind.DIRECT:
        other = peer_of(place.conversation_id, caller)
        if other is not None and not is_blocked(caller, other):
            log.announce(ToUsers([str(other)], frame))
    return reply


def _position(caller: UserKey, request: MarkRead) -> tuple[Place, int]:
    if request.message_id is not None:
        if request.conversation_id is not None or request.seq is not None:
            raise ValidationFailed("name either conversationId and seq, or messageId", field="messageId")
        message, place = access_message_unlocked(caller, request.message_id)
        return place, message.seq
    if request.conversation_id is None:
        raise ValidationFailed("name either conversationId and seq, or messageId", field="conversationId")
    if request.seq is None:
        raise ValidationFailed("name the seq up to which the conversation is read", field="seq")
    return access_conversation(caller, request.conversation_id), request.seq


def delete_conversation(caller: UserKey, conversation_id: str, *, client_id: str | None = None) -> ConversationDeleted:
    """Hide everything up to now for the caller alone; their other connections are told.

    Raises:
        NotFound: the caller is in no such conversation.

    """
    conversation = Conversation.objects.select_for_update(no_key=True).filter(pk=conversation_id).first()
    if conversation is None:
        raise NotFound
    place = access_conversation(caller, conversation_id)
    end = conversation.last_seq
    Participant.objects.filter(pk=place.participant_id).update(cleared_seq=end, read_seq=end)
    reply = ConversationDeleted(conversation_id=conversation_id, cleared_seq=end)
    log.announce(Cleared(str(caller), conversation_id, end))
    log.announce(ToUsers([str(caller)], encode(reply), client_id))
    return reply
