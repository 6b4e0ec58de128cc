"""Groups as people see them, many at once: two queries, whatever is on the page."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from uuid import UUID

import msgspec
from msgspec import UNSET, UnsetType

from groups.models import Group, Membership
from groups.schemas.groups import GroupView
from messaging.delivery.profiles import UserKey
from messaging.schemas.wire import wire_time


def view_of(group: Group, *, owner_id: str | None, role: str | UnsetType | None = UNSET) -> GroupView:
    """Return a group, with its conversation loaded, as somebody with this role sees it."""
    conversation = group.conversation
    return GroupView(
        group_id=str(group.pk),
        name=group.name,
        description=group.description,
        kind=conversation.kind,
        owner_id=owner_id,
        member_count=group.member_count,
        max_members=group.max_members,
        posting_policy=conversation.posting,
        is_public=conversation.is_public,
        is_frozen=conversation.state == conversation.State.FROZEN,
        created_at=wire_time(group.created_at),
        role=role,
    )


def views_of(caller: UserKey, groups: Iterable[Group]) -> list[GroupView]:
    """Return groups, with their conversations loaded, as the caller sees them; one query."""
    groups = list(groups)
    places = Membership.objects.filter(group__in=groups)
    owners = dict(places.filter(role=Membership.Role.OWNER).values_list("group_id", "user_id"))
    roles = dict(places.filter(user_id=caller).values_list("group_id", "role"))
    return [view_of(group, owner_id=_wire_id(owners.get(group.pk)), role=roles.get(group.pk)) for group in groups]


def group_views(caller: UserKey, conversation_ids: Collection[UUID]) -> dict[UUID, msgspec.Struct]:
    """Return what a member sees of some groups by their conversations."""
    groups = list(Group.objects.select_related("conversation").filter(pk__in=conversation_ids))
    return {group.pk: view for group, view in zip(groups, views_of(caller, groups), strict=True)}


def _wire_id(key: UserKey | None) -> str | None:
    return None if key is None else str(key)
