"""Pinning messages for all members."""

from __future__ import annotations

import msgspec

from groups.schemas.messages import MessagePinned, MessageUnpinned, PinnedMessages
from groups.services.access import Access, Role, access_group, record, see_group
from messaging.delivery.doors import snapshot
from messaging.delivery.profiles import UserKey
from messaging.errors import NotFound
from messaging.services import pins
from messaging.services.messages import access_message_unlocked
from messaging.services.places import Place, access_conversation


def pin_message(caller: UserKey, group_id: str, message_id: str) -> MessagePinned:
    """Pin a message of the group; one that is pinned stays so.

    Raises:
        NotFound: there is no such message in the group that the caller may see.
        InsufficientPermissions: the caller is no admin.
        Conflict: it is deleted, or there are 50 pins.

    """
    access = access_group(caller, group_id, at_least=Role.ADMIN)
    event = MessagePinned(conversation_id=group_id, group_id=group_id, message_id=message_id, by=access.actor_id)
    message, place = access_message_unlocked(caller, message_id)  # its conversation is locked
    _check_place(place, access)
    is_changed = pins.pin(message)
    return record(access, event, message=message) if is_changed else msgspec.structs.replace(event, changed=False)


def unpin_message(caller: UserKey, group_id: str, message_id: str) -> MessageUnpinned:
    """Unpin a message of the group, if it is pinned.

    Raises:
        NotFound: there is no such message in the group that the caller may see.
        InsufficientPermissions: the caller is no admin.

    """
    access = access_group(caller, group_id, at_least=Role.ADMIN)
    event = MessageUnpinned(conversation_id=group_id, group_id=group_id, message_id=message_id, by=access.actor_id)
    message, place = access_message_unlocked(caller, message_id)
    _check_place(place, access)
    is_changed = pins.unpin(message)
    return record(access, event, message=message) if is_changed else msgspec.structs.replace(event, changed=False)


def pinned_messages(caller: UserKey, group_id: str) -> PinnedMessages:
    """Return what is pinned and the caller may see, the newest pin first.

    Raises:
        NotFound: the caller is not in the group.

    """
    with snapshot():
        see_group(caller, group_id)
        place = access_conversation(caller, group_id)
        return PinnedMessages(group_id=group_id, messages=pins.pinned_messages(caller, place))


def _check_place(place: Place, access: Access) -> None:
    if place.conversation_id != access.group_id:
        raise NotFound
