"""The end of groups: deletion with days of grace, restoring, purging."""

from __future__ import annotations

import datetime as dt

from django.db.models.functions import Now

from groups.models import Group, Membership
from groups.schemas.groups import GroupDeleted, GroupRestored
from groups.services.access import Access, Role, access_group, lock_group, record
from messaging.delivery import log
from messaging.delivery.profiles import UserKey
from messaging.errors import Conflict, NotFound
from messaging.schemas.wire import wire_time
from messaging.services.memberships import purge, set_deleted, set_frozen

GRACE = dt.timedelta(days=30)


def delete_group(caller: UserKey | None, group_id: str, *, permanent: bool = False) -> GroupDeleted:
    """Delete a group: for 30 days its owner can restore it, unless it is for good.

    Raises:
        NotFound: there is none.
        InsufficientPermissions: the caller is not the owner.

    """
    access = access_group(caller, group_id, at_least=Role.OWNER)
    return _purge(access) if permanent else soft_delete(access)


def soft_delete(access: Access) -> GroupDeleted:
    """Hide a group from everybody until it is restored or purged."""
    group = access.group
    moment = log.now()
    was_frozen = group.conversation.state == group.conversation.State.FROZEN
    Group.objects.filter(pk=group.pk).update(deleted_at=moment, was_frozen=was_frozen)
    set_deleted(group.conversation, is_deleted=True)
    return record(
        access,
        GroupDeleted(
            conversation_id=access.group_id,
            group_id=access.group_id,
            permanent=False,
            purge_at=wire_time(moment + GRACE),
        ),
    )


def restore_group(caller: UserKey | None, group_id: str) -> GroupRestored:
    """Bring a deleted group back as it was, frozen if it was frozen.

    Raises:
        NotFound: there is none, or it is deleted and the caller is not its owner.
        InsufficientPermissions: it is not deleted, and the caller is not its owner either.
        Conflict: it is not deleted.

    """
    group = lock_group(group_id)
    if group.deleted_at is None:
        access_group(caller, group_id, at_least=Role.OWNER, even_frozen=True)
        raise Conflict("this group is not deleted")
    if caller is not None and not Membership.objects.filter(group=group, user_id=caller, role=Role.OWNER).exists():
        raise NotFound
    Group.objects.filter(pk=group.pk).update(deleted_at=None)
    set_deleted(group.conversation, is_deleted=False)
    if group.was_frozen:
        set_frozen(group.conversation, is_frozen=True)
    access = Access(group, caller, None if caller is None else Role.OWNER)
    return record(access, GroupRestored(conversation_id=group_id, group_id=group_id))


def purge_expired(*, limit: int) -> int:
    """Purge at most so many groups that were deleted more than 30 days ago, and return how many; one at a time."""
    expired = Group.objects.filter(deleted_at__lt=Now() - GRACE).order_by("deleted_at").values_list("pk", flat=True)
    keys = list(expired[:limit])
    for key in keys:
        _purge(Access(lock_group(str(key)), None, None))
    return len(keys)


def _purge(access: Access) -> GroupDeleted:
    """Remove a group and everything that was said in it; its last event still reaches who was away."""
    set_deleted(access.group.conversation, is_deleted=True)
    event = GroupDeleted(conversation_id=access.group_id, group_id=access.group_id, permanent=True, purge_at=None)
    reply = record(access, event)
    purge(access.group.conversation)
    Membership.objects.filter(group=access.group).delete()
    Group.objects.filter(pk=access.group.pk).delete()
    return reply
