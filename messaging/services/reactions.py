"""Reacting to messages; doing it twice is doing it once."""

from __future__ import annotations

from typing import TypeVar

from messaging.delivery import log
from messaging.delivery.profiles import UserKey
from messaging.errors import Conflict
from messaging.models import Message, Reaction
from messaging.schemas.messages import Reacted, ReactionAdded, ReactionRemoved
from messaging.services.messages import Access, access_message, check_live

R = TypeVar("R", bound=Reacted)
EMOJIS_MAX = 50  # different ones under one message


def add_reaction(caller: UserKey, message_id: str, *, emoji: str) -> ReactionAdded:
    """Put the caller's emoji under a message, where it may be already.

    Raises:
        NotFound: there is no such message for the caller.
        Conflict: it is deleted, it bears as many different emojis as it may, or the conversation is frozen.
        UserBlocked: one of the two people of a direct conversation has blocked the other.

    """
    access = access_message(caller, message_id)
    check_live(access, caller)
    is_changed = not Reaction.objects.filter(message=access.message, user_id=caller, emoji=emoji).exists()
    if is_changed:
        _check_room(access.message, emoji)
        Reaction.objects.create(message=access.message, user_id=caller, emoji=emoji)
    return _reply(ReactionAdded, "reaction_added", access, caller, emoji=emoji, is_changed=is_changed)


def remove_reaction(caller: UserKey, message_id: str, *, emoji: str) -> ReactionRemoved:
    """Take the caller's emoji away, if it is there; raises what `add_reaction` does."""
    access = access_message(caller, message_id)
    check_live(access, caller)
    count, _ = Reaction.objects.filter(message=access.message, user_id=caller, emoji=emoji).delete()
    return _reply(ReactionRemoved, "reaction_removed", access, caller, emoji=emoji, is_changed=count > 0)


def _check_room(message: Message, emoji: str) -> None:
    reactions = Reaction.objects.filter(message=message)
    if reactions.filter(emoji=emoji).exists():
        return
    if reactions.values("emoji").distinct().count() >= EMOJIS_MAX:
        raise Conflict(f"a message bears at most {EMOJIS_MAX} different emojis")


def _reply(kind: type[R], event_type: str, access: Access, caller: UserKey, *, emoji: str, is_changed: bool) -> R:
    """Append the event of a reaction that changed something, and return the reply."""
    message_id, conversation_id = str(access.message.pk), access.place.conversation_id
    wire = {"messageId": message_id, "emoji": emoji, "userId": str(caller)}
    if not is_changed:
        return kind(
            conversation_id=conversation_id,
            group_id=access.group_id,
            changed=False,
            message_id=message_id,
            emoji=emoji,
            user_id=str(caller),
        )
    event = log.append(access.conversation, event_type, actor=caller, message=access.message, wire=wire)
    return kind(
        conversation_id=conversation_id,
        group_id=access.group_id,
        seq=event.seq,
        timestamp=event.timestamp,
        message_id=message_id,
        emoji=emoji,
        user_id=str(caller),
    )
