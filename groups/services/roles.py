"""Who may do what: promoting, demoting, transferring, muting."""

from __future__ import annotations

import datetime as dt

import msgspec

from groups.models import Membership
from groups.schemas.members import (
    MemberDemoted,
    MemberMuted,
    MemberPromoted,
    MemberUnmuted,
    MuteMember,
    OwnershipTransferred,
)
from groups.services.access import Access, Role, access_group, access_member, check_outranks, record
from messaging.delivery import log
from messaging.delivery.profiles import UserKey
from messaging.errors import Conflict
from messaging.schemas.wire import wire_time
from messaging.services.memberships import NEVER, mute, muted_until, set_admin


def promote_member(caller: UserKey | None, group_id: str, user_id: str) -> MemberPromoted:
    """Make a member an admin; who is one stays one.

    Raises:
        ValidationFailed: it is the caller.
        NotFound: they are no member.
        InsufficientPermissions: the caller is not the owner.
        Conflict: they are the owner.

    """
    access = access_group(caller, group_id, at_least=Role.OWNER)
    event = MemberPromoted(conversation_id=group_id, group_id=group_id, user_id=user_id, role=Role.ADMIN.value)
    is_changed = _set_role(access, access_member(access, user_id), Role.ADMIN)
    return record(access, event) if is_changed else msgspec.structs.replace(event, changed=False)


def demote_member(caller: UserKey | None, group_id: str, user_id: str) -> MemberDemoted:
    """Make an admin a member; who is one stays one. Raises what `promote_member` does."""
    access = access_group(caller, group_id, at_least=Role.OWNER)
    event = MemberDemoted(conversation_id=group_id, group_id=group_id, user_id=user_id, role=Role.MEMBER.value)
    is_changed = _set_role(access, access_member(access, user_id), Role.MEMBER)
    return record(access, event) if is_changed else msgspec.structs.replace(event, changed=False)


def _set_role(access: Access, member: Membership, role: Role) -> bool:
    """Give a member a role; return whether it is another one."""
    if member.role == Role.OWNER:
        raise Conflict("the owner's role changes by transferring the ownership")
    if member.role == role:
        return False
    member.role = role
    member.save(update_fields=("role",))
    set_admin(access.group.conversation, member.user_id, is_admin=role != Role.MEMBER)
    return True


def transfer_ownership(caller: UserKey | None, group_id: str, user_id: str) -> OwnershipTransferred:
    """Hand the group over to a member; the former owner stays as an admin.

    Raises:
        ValidationFailed: it is the caller.
        NotFound: they are no member.
        InsufficientPermissions: the caller is not the owner.
        Conflict: a moderator names the one who is the owner already.

    """
    access = access_group(caller, group_id, at_least=Role.OWNER)
    heir = access_member(access, user_id)
    if heir.role == Role.OWNER:
        raise Conflict("they own the group already")
    return hand_over(access, heir)


def hand_over(access: Access, heir: Membership) -> OwnershipTransferred:
    """Make a member the owner, and the owner an admin."""
    former = Membership.objects.get(group=access.group, role=Role.OWNER)
    for member, role in ((former, Role.ADMIN), (heir, Role.OWNER)):  # in this order there is never a second owner
        member.role = role
        member.save(update_fields=("role",))
    set_admin(access.group.conversation, heir.user_id, is_admin=True)
    return record(
        access,
        OwnershipTransferred(
            conversation_id=access.group_id,
            group_id=access.group_id,
            former_id=str(former.user_id),
            owner_id=str(heir.user_id),
        ),
    )


def mute_member(caller: UserKey | None, request: MuteMember) -> MemberMuted:
    """Keep somebody of a lower role from writing, for some minutes or until they are unmuted.

    Raises:
        ValidationFailed: it is the caller.
        NotFound: they are no member.
        InsufficientPermissions: they stand as high as the caller.

    """
    access = access_group(caller, request.group_id, at_least=Role.ADMIN)
    member = access_member(access, request.user_id)
    check_outranks(access, member)
    until = NEVER if request.minutes is None else log.now() + dt.timedelta(minutes=request.minutes)
    event = MemberMuted(
        conversation_id=request.group_id,
        group_id=request.group_id,
        user_id=request.user_id,
        until=None if request.minutes is None else wire_time(until),
    )
    if until == NEVER == muted_until(access.group.conversation, member.user_id):
        return msgspec.structs.replace(event, changed=False)
    mute(access.group.conversation, member.user_id, until=until)
    return record(access, event)


def unmute_member(caller: UserKey | None, group_id: str, user_id: str) -> MemberUnmuted:
    """Let somebody of a lower role write again; raises what `mute_member` does."""
    access = access_group(caller, group_id, at_least=Role.ADMIN)
    member = access_member(access, user_id)
    check_outranks(access, member)
    event = MemberUnmuted(conversation_id=group_id, group_id=group_id, user_id=user_id)
    if muted_until(access.group.conversation, member.user_id) is None:
        return msgspec.structs.replace(event, changed=False)
    mute(access.group.conversation, member.user_id, until=None)
    return record(access, event)
