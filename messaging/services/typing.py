"""Who hears that somebody is typing."""

from __future__ import annotations

from typing import NamedTuple

from messaging.delivery import events
from messaging.delivery.doors import snapshot
from messaging.delivery.profiles import UserKey
from messaging.errors import UserBlocked
from messaging.models import Conversation
from messaging.schemas.conversations import Typing
from messaging.services.conversations import access_named
from messaging.services.people import blocked_with


class Audience(NamedTuple):
    """The others in a conversation who are told."""

    conversation_id: str
    user_ids: list[str]


def typing_audience(caller: UserKey, request: Typing) -> Audience | None:
    """Return who is told that the caller types, without those with whom they have a block; None for communities.

    Raises:
        ValidationFailed: not exactly one conversation is named.
        NotFound: the caller is no member of it.
        UserBlocked: it is a direct one, and one of the two has blocked the other.

    """
    with snapshot():
        place = access_named(caller, request)
        if place is None or place.kind == Conversation.Kind.COMMUNITY:
            return None
        others = set(events.participant_keys(place.conversation_id)) - {caller}
        blocked = blocked_with(caller, others)
        if blocked and place.kind == Conversation.Kind.DIRECT:
            raise UserBlocked
        return Audience(place.conversation_id, [str(key) for key in others - blocked])
