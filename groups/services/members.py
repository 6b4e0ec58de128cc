"""Coming and going: adding, removing, joining, leaving, and the list of members."""

from __future__ import annotations

from typing import TypeVar

import msgspec

from groups.errors import OwnerCannotLeave
from groups.models import Membership
from groups.schemas.members import (
    AddGroupMember,
    GetGroupMembers,
    GroupMembers,
    ListedMember,
    MemberAdded,
    MemberJoined,
    MemberLeft,
    MemberRemoved,
)
from groups.services.access import (
    Access,
    Role,
    access_group,
    access_member,
    check_outranks,
    lock_group,
    record,
    see_group,
)
from groups.services.newcomers import check_newcomers, check_no_members, in_log, introduced, make_room, seat
from messaging.delivery.online import online_among
from messaging.delivery.profiles import UserKey, profiles_of
from messaging.errors import Conflict, NotFound
from messaging.protocol.errors import ValidationFailed
from messaging.schemas.wire import wire_time
from messaging.services.cursors import cursor_of, open_cursor
from messaging.services.memberships import leave, muted_among
from messaging.services.people import blocked_with

S = TypeVar("S", MemberLeft, MemberRemoved)


def add_members(caller: UserKey, request: AddGroupMember) -> MemberAdded:
    """Add people to a group, all or none.

    Raises:
        ValidationFailed: not exactly one of userId and userIds is given.
        NotFound: some do not exist; the details name everybody who is refused.
        UserBlocked: with some of them the caller has a block.
        AlreadyMember: some are members.
        GroupFull: there is no room for all of them.

    """
    if (request.user_id is None) == (request.user_ids is None):
        raise ValidationFailed("give either userId or userIds", field="userId")
    access = access_group(caller, request.group_id, at_least=Role.ADMIN)
    wanted = dict.fromkeys(request.user_ids or [request.user_id or ""])
    field = "userId" if request.user_ids is None else "userIds"
    users = check_newcomers(caller, wanted, field=field)
    check_no_members(access.group, users)
    make_room(access.group, len(users))
    event = MemberAdded(
        conversation_id=request.group_id,
        group_id=request.group_id,
        members=introduced(users),
        added_by=access.actor_id,
    )
    reply = record(access, event, people=in_log("members", users), joined=users)
    seat(access, users)
    return reply


def join_community(caller: UserKey, community_id: str) -> MemberJoined:
    """Join a public community.

    Raises:
        NotFound: there is none.
        AlreadyMember: the caller is in it.
        GroupFull: it has as many members as it may have.
        Conflict: it is frozen.

    """
    group = lock_group(community_id)
    if not group.conversation.is_public or group.deleted_at is not None:
        raise NotFound
    check_no_members(group, [caller])
    if group.conversation.state == group.conversation.State.FROZEN:
        raise Conflict("this group is frozen")
    make_room(group, 1)
    access = Access(group, caller, Role.MEMBER)
    event = MemberJoined(conversation_id=community_id, group_id=community_id, user=introduced([caller])[0])
    reply = record(access, event, people=in_log("user", [caller], is_list=False), joined=[caller])
    seat(access, [caller])
    return reply


def leave_group(caller: UserKey, group_id: str, *, only_community: bool = False) -> MemberLeft:
    """Leave a group, also a frozen one.

    Raises:
        NotFound: the caller is in no such group, or it is no community where one is asked for.
        OwnerCannotLeave: it is theirs.

    """
    access = access_group(caller, group_id, even_frozen=True)
    if only_community and access.group.conversation.kind != access.group.conversation.Kind.COMMUNITY:
        raise NotFound
    if access.role == Role.OWNER:
        raise OwnerCannotLeave
    return depart(access, MemberLeft(conversation_id=group_id, group_id=group_id, user_id=str(caller)), caller)


def remove_member(caller: UserKey | None, group_id: str, user_id: str) -> MemberRemoved:
    """Remove somebody of a lower role.

    Raises:
        ValidationFailed: it is the caller.
        NotFound: they are no member.
        InsufficientPermissions: they stand as high as the caller.
        Conflict: a moderator would remove the owner.

    """
    access = access_group(caller, group_id, at_least=Role.ADMIN)
    member = access_member(access, user_id)
    check_outranks(access, member)
    if member.role == Role.OWNER:
        raise Conflict("transfer the ownership first")
    event = MemberRemoved(conversation_id=group_id, group_id=group_id, user_id=user_id, removed_by=access.actor_id)
    return depart(access, event, member.user_id)


def depart(access: Access, event: S, user: UserKey) -> S:
    """End a membership with the event that tells of it."""
    Membership.objects.filter(group=access.group, user_id=user).delete()
    access.group.member_count -= 1
    access.group.save(update_fields=("member_count",))
    reply = record(access, event, left=[user])
    leave(access.group.conversation, user)
    return reply


def group_members(caller: UserKey, request: GetGroupMembers) -> GroupMembers:
    """Return a page of a group's members in the order of their joining; seven queries at the most.

    Raises:
        NotFound: the caller is not in it.
        ValidationFailed: the cursor is none of ours.

    """
    group = see_group(caller, request.group_id)
    found = Membership.objects.filter(group=group).order_by("id")
    if request.before is not None:
        (last,) = open_cursor(request.before, int)
        found = found.filter(id__gt=last)
    members = list(found[: request.limit + 1])
    page, has_more = members[: request.limit], len(members) > request.limit
    return GroupMembers(
        group_id=request.group_id,
        members=_listed(caller, request.group_id, page),
        has_more=has_more,
        next_cursor=cursor_of(page[-1].pk) if has_more else None,
    )


def _listed(caller: UserKey, group_id: str, page: list[Membership]) -> list[ListedMember]:
    users = [member.user_id for member in page]
    profiles, muted = profiles_of(users), muted_among(group_id, users)
    online = online_among(users) - blocked_with(caller, users)
    return [
        ListedMember(
            **msgspec.structs.asdict(profiles[member.user_id]),
            role=member.role,
            joined_at=wire_time(member.joined_at),
            is_muted=member.user_id in muted,
            is_online=member.user_id in online,
        )
        for member in page
    ]
