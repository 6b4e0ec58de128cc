"""Who comes into a group: checked as a batch, all or nothing, and seated behind the event that tells of it."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from groups.errors import AlreadyMember, GroupFull
from groups.models import Group, Membership
from groups.schemas.members import MemberView
from groups.services.access import Access, Role
from messaging.delivery import log
from messaging.delivery.profiles import UserKey, profiles_of
from messaging.errors import NotFound, UserBlocked
from messaging.services.memberships import join
from messaging.services.people import blocked_with, find_users


def check_newcomers(caller: UserKey, user_ids: Collection[str], *, field: str) -> list[UserKey]:
    """Return the keys of people whom the caller may bring into a group, in the order they are named; two queries.

    Raises:
        NotFound: some do not exist or are inactive; the details name everybody who is refused.
        UserBlocked: with some of them the caller has a block, either way.

    """
    found = find_users(user_ids)
    blocked = {str(key) for key in blocked_with(caller, found.values())}
    unknown = [each for each in user_ids if each not in found]
    refused = ", ".join(each for each in user_ids if each not in found or each in blocked)
    if unknown:
        raise NotFound(f"these users cannot be added: {refused}", field=field)
    if blocked:
        raise UserBlocked(f"these users cannot be added: {refused}", field=field)
    return [found[each] for each in user_ids]


def check_no_members(group: Group, users: Collection[UserKey]) -> None:
    """Check that nobody of some users is a member.

    Raises:
        AlreadyMember: somebody is; the details name them.

    """
    there = Membership.objects.filter(group=group, user_id__in=users).order_by("id").values_list("user_id", flat=True)
    if members := ", ".join(map(str, there)):
        raise AlreadyMember(f"these users are members: {members}")


def make_room(group: Group, count: int) -> None:
    """Count some newcomers in; the group's conversation has to be locked.

    Raises:
        GroupFull: there is no room for all of them.

    """
    if group.member_count + count > group.max_members:
        raise GroupFull
    group.member_count += count
    group.save(update_fields=("member_count",))


def introduced(users: Sequence[UserKey], *, owner: UserKey | None = None) -> list[MemberView]:
    """Return newcomers as the others see them; one query for those who are not remembered."""
    profiles = profiles_of(users)
    return [
        MemberView(
            user_id=profiles[user].user_id,
            username=profiles[user].username,
            display_name=profiles[user].display_name,
            profile_image=profiles[user].profile_image,
            role=_role(user, owner),
        )
        for user in users
    ]


def in_log(name: str, users: Sequence[UserKey], *, owner: UserKey | None = None, is_list: bool = True) -> log.People:
    """Return newcomers as an event keeps them: their names are looked up whenever it is read."""
    return log.People(name, users, is_list, [{"role": _role(user, owner)} for user in users])


def seat(access: Access, users: Sequence[UserKey], *, owner: UserKey | None = None) -> None:
    """Make some users members from the group's last event on."""
    Membership.objects.bulk_create(
        Membership(group=access.group, user_id=user, role=_role(user, owner)) for user in users
    )
    join(access.group.conversation, users, admins=[] if owner is None else [owner])


def _role(user: UserKey, owner: UserKey | None) -> str:
    return Role.OWNER if owner is not None and user == owner else Role.MEMBER
