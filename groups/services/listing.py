"""Lists of groups: those somebody is in, and communities to be found."""

from __future__ import annotations

from uuid import UUID

from django.db.models import Exists, OuterRef, Q, QuerySet

from groups.models import Group, Membership
from groups.schemas.groups import Communities, GetCommunities, GetUserGroups, UserGroups
from groups.services.views import views_of
from messaging.delivery.doors import snapshot
from messaging.delivery.profiles import UserKey
from messaging.services.cursors import cursor_of, open_cursor


def user_groups(caller: UserKey, request: GetUserGroups) -> UserGroups:
    """Return a page of the groups and communities that the caller is in, the newest membership first; two queries.

    Raises:
        ValidationFailed: the cursor is none of ours.

    """
    found = Membership.objects.filter(user_id=caller, group__deleted_at=None).order_by("-id")
    if request.before is not None:
        (last,) = open_cursor(request.before, int)
        found = found.filter(id__lt=last)
    places = list(found.select_related("group__conversation")[: request.limit + 1])
    page, has_more = places[: request.limit], len(places) > request.limit
    return UserGroups(
        groups=views_of(caller, [place.group for place in page]),
        has_more=has_more,
        next_cursor=cursor_of(page[-1].pk) if has_more else None,
    )


def communities(caller: UserKey, request: GetCommunities) -> Communities:
    """Return a page of communities, the largest first: public ones, and others that the caller is in; two queries.

    Raises:
        ValidationFailed: the cursor is none of ours.

    """
    with snapshot():
        found = _communities(caller, request)
        if request.before is not None:
            size, last = open_cursor(request.before, int, UUID)
            found = found.filter(Q(member_count__lt=size) | Q(member_count=size, pk__gt=last))
        groups = list(found.order_by("-member_count", "pk")[: request.limit + 1])
        page, has_more = groups[: request.limit], len(groups) > request.limit
        return Communities(
            communities=views_of(caller, page),
            has_more=has_more,
            next_cursor=cursor_of(page[-1].member_count, page[-1].pk) if has_more else None,
        )


def _communities(caller: UserKey, request: GetCommunities) -> QuerySet[Group]:
    found = Group.objects.select_related("conversation").filter(conversation__kind="community", deleted_at=None)
    is_member = Exists(Membership.objects.filter(group=OuterRef("pk"), user_id=caller))
    if request.joined is None:
        found = found.filter(Q(conversation__is_public=True) | is_member)
    else:
        found = found.filter(is_member) if request.joined else found.filter(~is_member, conversation__is_public=True)
    for word in (request.query or "").split():
        found = found.filter(Q(name__icontains=word) | Q(description__icontains=word))
    return found
