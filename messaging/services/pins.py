"""Pinned messages: the rows behind what the groups app lets admins pin."""

from __future__ import annotations

from django.db.models.functions import Now

from messaging.delivery import rendering
from messaging.delivery.profiles import UserKey
from messaging.errors import Conflict
from messaging.models import Message
from messaging.schemas.messages import MessageView
from messaging.services.conversations import visible_messages
from messaging.services.places import Place

PINS_MAX = 50  # in one conversation


def pin(message: Message) -> bool:
    """Pin a message; return whether it was not pinned. Its conversation has to be locked.

    Raises:
        Conflict: it is deleted, or there are as many pins as there may be.

    """
    if message.deleted_at is not None:
        raise Conflict("the message has been deleted")
    if message.pinned_at is not None:
        return False
    if Message.objects.filter(conversation_id=message.conversation_id, pinned_at__isnull=False).count() >= PINS_MAX:
        raise Conflict(f"at most {PINS_MAX} messages can be pinned")
    Message.objects.filter(pk=message.pk).update(pinned_at=Now())
    return True


def unpin(message: Message) -> bool:
    """Unpin a message; return whether it was pinned. Its conversation has to be locked."""
    return Message.objects.filter(pk=message.pk, pinned_at__isnull=False).update(pinned_at=None) > 0


def pinned_messages(caller: UserKey, place: Place) -> list[MessageView]:
    """Return what is pinned in a conversation and the caller may see, the newest pin first."""
    found = visible_messages(caller, place).filter(pinned_at__isnull=False).order_by("-pinned_at", "-seq")
    rows = rendering.rows_of(found.values_list(*rendering.ROW_FIELDS)[:PINS_MAX])
    return rendering.page_views(rows, caller, visible_from=place.visible_from)
