"""Creating groups, looking at them, and changing what they are called and who may write."""

from __future__ import annotations

from typing import Literal

import msgspec
from msgspec import UNSET

from groups.errors import GroupFull
from groups.models import Group
from groups.schemas.groups import (
    Changes,
    CreateCommunity,
    CreateGroup,
    GroupCreated,
    GroupInfo,
    GroupInfoUpdated,
    UpdateGroup,
)
from groups.services.access import Access, Role, access_group, record
from groups.services.newcomers import check_newcomers, in_log, introduced, seat
from groups.services.views import view_of, views_of
from messaging.delivery import log
from messaging.delivery.profiles import UserKey
from messaging.errors import NotFound
from messaging.protocol.errors import ValidationFailed
from messaging.services.memberships import open_conversation, set_frozen, set_posting

NAME_CHARACTERS_MAX = 100
DESCRIPTION_CHARACTERS_MAX = 500
GROUP_MEMBERS_MAX = 1_000


def create_group(caller: UserKey, request: CreateGroup) -> GroupCreated:
    """Create a group with its first members; all or none of them.

    Raises:
        ValidationFailed: the name or the description has the wrong length.
        NotFound: some of them do not exist; the details name them.
        UserBlocked: with some of them the caller has a block.
        GroupFull: they are too many.

    """
    return _create(caller, request, kind="group", posting="everyone", is_public=False)


def create_community(caller: UserKey, request: CreateCommunity) -> GroupCreated:
    """Create a community with its first members; raises what `create_group` does."""
    return _create(caller, request, kind="community", posting=request.posting_policy, is_public=request.is_public)


def _create(
    caller: UserKey,
    request: CreateGroup | CreateCommunity,
    *,
    kind: Literal["group", "community"],
    posting: str,
    is_public: bool,
) -> GroupCreated:
    name, description = _checked_name(request.name), _checked_description(request.description)
    others = dict.fromkeys(each for each in request.member_ids if each != str(caller))
    members = [caller, *check_newcomers(caller, others, field="memberIds")]
    if len(members) > request.max_members:
        raise GroupFull
    group = Group.objects.create(
        conversation=open_conversation(kind=kind, posting=posting, is_public=is_public),
        name=name,
        description=description,
        member_count=len(members),
        max_members=request.max_members,
        created_at=log.now(),
    )
    access = Access(group, caller, Role.OWNER)
    view = view_of(group, owner_id=str(caller))
    event = GroupCreated(
        conversation_id=access.group_id,
        group_id=access.group_id,
        group=view,
        members=introduced(members, owner=caller),
    )
    reply = record(access, event, people=in_log("members", members, owner=caller), joined=members)
    seat(access, members, owner=caller)
    # The event is one for all: only the reply knows whose role to say.
    return msgspec.structs.replace(reply, group=msgspec.structs.replace(view, role=Role.OWNER.value))


def group_info(caller: UserKey, group_id: str) -> GroupInfo:
    """Return a group that the caller is in, or a public community.

    Raises:
        NotFound: there is none that the caller may see.

    """
    group = Group.objects.select_related("conversation").filter(conversation_id=group_id, deleted_at=None).first()
    if group is None:
        raise NotFound
    view = views_of(caller, [group])[0]
    if view.role is None and not group.conversation.is_public:
        raise NotFound
    return GroupInfo(group=view)


def update_group(caller: UserKey | None, request: UpdateGroup) -> GroupInfoUpdated:
    """Change a group's name, description, size or posting policy.

    Raises:
        ValidationFailed: nothing is given, or a value is out of its range.
        InsufficientPermissions: the caller is no admin.

    """
    access = access_group(caller, request.group_id, at_least=Role.ADMIN)
    changes = _changes(access.group, request)
    reply = GroupInfoUpdated(
        conversation_id=request.group_id, group_id=request.group_id, changes=changes, updated_by=access.actor_id
    )
    if changes == Changes():
        return msgspec.structs.replace(reply, changed=False)
    _apply(access.group, changes)
    return record(access, reply)


def freeze_group(group_id: str, *, is_frozen: bool) -> GroupInfoUpdated:
    """Let a group take nothing new until it is thawed, or thaw it; only moderators do this.

    Raises:
        NotFound: there is no such group, or it is deleted.

    """
    access = access_group(None, group_id)
    changed = set_frozen(access.group.conversation, is_frozen=is_frozen)
    reply = GroupInfoUpdated(
        conversation_id=group_id, group_id=group_id, changes=Changes(is_frozen=is_frozen), updated_by=None
    )
    return record(access, reply) if changed else msgspec.structs.replace(reply, changed=False)


def _changes(group: Group, request: UpdateGroup) -> Changes:
    """Return what a request would change, checked.

    Raises:
        ValidationFailed: nothing is given, or a value is out of its range.

    """
    wanted = Changes(
        name=UNSET if request.name is UNSET else _checked_name(request.name),
        description=UNSET if request.description is UNSET else _checked_description(request.description),
        max_members=UNSET if request.max_members is UNSET else _checked_size(group, request.max_members),
        posting_policy=request.posting_policy,
    )
    if wanted == Changes():
        raise ValidationFailed("give at least one of name, description, maxMembers and postingPolicy", field="name")
    present = Changes(
        name=group.name,
        description=group.description,
        max_members=group.max_members,
        posting_policy=group.conversation.posting,
    )
    same = {field: UNSET for field in Changes.__struct_fields__ if getattr(wanted, field) == getattr(present, field)}
    return msgspec.structs.replace(wanted, **same)


def _apply(group: Group, changes: Changes) -> None:
    for field in ("name", "description", "max_members"):
        if (value := getattr(changes, field)) is not UNSET:
            setattr(group, field, value)
    group.save(update_fields=("name", "description", "max_members"))
    if changes.posting_policy is not UNSET:
        set_posting(group.conversation, changes.posting_policy)


def _checked_name(text: str) -> str:
    name = text.strip()
    if not 1 <= len(name) <= NAME_CHARACTERS_MAX:
        raise ValidationFailed(f"name must be 1 to {NAME_CHARACTERS_MAX} characters, it has {len(name)}", field="name")
    return name


def _checked_description(text: str) -> str:
    description = text.strip()
    if len(description) > DESCRIPTION_CHARACTERS_MAX:
        raise ValidationFailed(
            f"description must be at most {DESCRIPTION_CHARACTERS_MAX} characters, it has {len(description)}",
            field="description",
        )
    return description


def _checked_size(group: Group, max_members: int) -> int:
    is_community = group.conversation.kind == group.conversation.Kind.COMMUNITY
    if max_members > GROUP_MEMBERS_MAX and not is_community:
        raise ValidationFailed(f"a group has at most {GROUP_MEMBERS_MAX} members", field="maxMembers")
    if max_members < group.member_count:
        raise ValidationFailed(f"there are {group.member_count} members now", field="maxMembers")
    return max_members
