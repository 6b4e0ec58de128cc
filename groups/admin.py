"""Moderating groups and communities in Django admin: by services, so that their members see the same events."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.db.models import Prefetch, QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from groups.models import Group, Membership
from groups.schemas.members import MuteMember
from groups.services.ending import delete_group, restore_group
from groups.services.groups import freeze_group
from groups.services.members import remove_member
from groups.services.roles import demote_member, mute_member, promote_member, transfer_ownership, unmute_member
from messaging.admin import ReadOnly, log_done, moderate
from messaging.services.memberships import mutes

if TYPE_CHECKING:
    GroupModelAdmin = admin.ModelAdmin[Group]
    MembershipModelAdmin = admin.ModelAdmin[Membership]
else:
    GroupModelAdmin = MembershipModelAdmin = admin.ModelAdmin


@admin.register(Group)
class GroupAdmin(ReadOnly, GroupModelAdmin):
    """Groups and communities with their size, owner and activity."""

    list_display = ("name", "kind", "owner", "members", "state", "last_activity", "created_at")
    list_filter = ("conversation__kind", "conversation__state", "conversation__is_public")
    list_select_related = ("conversation",)
    list_per_page = 50
    search_fields = ("name", "description", "=conversation__id")
    fields = (
        "conversation",
        "name",
        "description",
        "kind",
        "owner",
        "members",
        "max_members",
        "posting",
        "is_public",
        "state",
        "events",
        "last_activity",
        "created_at",
        "deleted_at",
    )
    actions = ("soft_delete", "restore", "freeze", "thaw")

    @admin.display(ordering="conversation__kind")
    def kind(self, group: Group) -> str:
        """Return whether it is a group or a community."""
        return group.conversation.kind

    @admin.display(ordering="conversation__state")
    def state(self, group: Group) -> str:
        """Return whether it is open, frozen or deleted."""
        return group.conversation.state

    @admin.display
    def posting(self, group: Group) -> str:
        """Return who may write."""
        return group.conversation.posting

    @admin.display(boolean=True)
    def is_public(self, group: Group) -> bool:
        """Return whether anybody may find and join it."""
        return group.conversation.is_public

    @admin.display
    def events(self, group: Group) -> int:
        """Return how much has happened in it."""
        return group.conversation.last_seq

    @admin.display(ordering="conversation__last_message_at")
    def last_activity(self, group: Group) -> dt.datetime | None:
        """Return when somebody wrote last."""
        return group.conversation.last_message_at

    def get_queryset(self, request: HttpRequest) -> QuerySet[Group]:
        """Return groups with their owners."""
        owners = Membership.objects.filter(role=Membership.Role.OWNER).select_related("user")
        return super().get_queryset(request).prefetch_related(Prefetch("memberships", owners, to_attr="owners"))

    @admin.display
    def owner(self, group: Group) -> str:
        """Return whose it is."""
        owners: list[Membership] = group.owners  # type: ignore[attr-defined]  # by get_queryset
        return ", ".join(str(each.user) for each in owners)

    @admin.display(ordering="member_count")
    def members(self, group: Group) -> SafeString:
        """Return the number of members, linked to their list."""
        address = reverse("admin:groups_membership_changelist")
        return format_html('<a href="{}?group={}">{}</a>', address, group.pk, group.member_count)

    @admin.action(description="Delete, restorable for 30 days", permissions=["moderate"])
    def soft_delete(self, request: HttpRequest, queryset: QuerySet[Group]) -> None:
        """Delete groups."""
        self._do(request, queryset, "Deleted.", lambda group_id: delete_group(None, group_id))

    @admin.action(description="Restore", permissions=["moderate"])
    def restore(self, request: HttpRequest, queryset: QuerySet[Group]) -> None:
        """Bring deleted groups back."""
        self._do(request, queryset, "Restored.", lambda group_id: restore_group(None, group_id))

    @admin.action(description="Freeze: nothing new until thawed", permissions=["moderate"])
    def freeze(self, request: HttpRequest, queryset: QuerySet[Group]) -> None:
        """Freeze groups."""
        self._do(request, queryset, "Frozen.", lambda group_id: freeze_group(group_id, is_frozen=True))

    @admin.action(description="Thaw", permissions=["moderate"])
    def thaw(self, request: HttpRequest, queryset: QuerySet[Group]) -> None:
        """Thaw frozen groups."""
        self._do(request, queryset, "Thawed.", lambda group_id: freeze_group(group_id, is_frozen=False))

    def _do(self, request: HttpRequest, queryset: QuerySet[Group], what: str, service: Callable[[str], object]) -> None:
        done = [group for group in queryset if moderate(request, str(group), service, str(group.pk))]
        log_done(self, request, done, what)


def _find_mutes(members: list[Membership]) -> list[Membership]:
    """Add to members until when each may not write."""
    found = mutes([(member.group_id, member.user_id) for member in members])
    for member in members:
        member.muted_until = found.get((member.group_id, member.user_id))  # type: ignore[attr-defined]
    return members


class MembershipList(ChangeList):
    """A page of members, with what of each stands elsewhere."""

    def get_results(self, request: HttpRequest) -> None:
        """Find the page."""
        super().get_results(request)
        self.result_list = _find_mutes(list(self.result_list))


@admin.register(Membership)
class MembershipAdmin(ReadOnly, MembershipModelAdmin):
    """The members of groups with their roles."""

    list_display = ("user", "group", "role", "joined_at", "muted")
    list_filter = ("role", "group__conversation__kind")
    list_select_related = ("user", "group__conversation")
    list_per_page = 50
    show_full_result_count = False
    search_fields = ("group__name", "=group__conversation__id", "=user__id")
    fields = ("group", "user", "role", "joined_at", "muted")
    actions = ("remove", "mute_for_an_hour", "mute_for_a_day", "mute", "unmute", "promote", "demote", "make_owner")

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:  # noqa: ARG002 — Django's signature
        """Return what makes a page."""
        return MembershipList

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Membership | None:
        """Return the member of a page of their own."""
        member = super().get_object(request, object_id, from_field)
        return None if member is None else _find_mutes([member])[0]

    def lookup_allowed(self, lookup: str, value: Any, request: HttpRequest | None = None) -> bool:
        """Allow the link from a group to its members."""
        return lookup == "group" or super().lookup_allowed(lookup, value, request)  # type: ignore[arg-type]

    @admin.display
    def muted(self, member: Membership) -> dt.datetime | None:
        """Return until when they may not write."""
        until: dt.datetime | None = member.muted_until  # type: ignore[attr-defined]
        return until

    @admin.action(description="Remove from the group", permissions=["moderate"])
    def remove(self, request: HttpRequest, queryset: QuerySet[Membership]) -> None:
        """Remove members."""
        self._do(request, queryset, "Removed.", lambda group, user: remove_member(None, group, user))

    @admin.action(description="Mute for an hour", permissions=["moderate"])
    def mute_for_an_hour(self, request: HttpRequest, queryset: QuerySet[Membership]) -> None:
        """Keep members from writing for an hour."""
        self._mute(request, queryset, minutes=60)

    @admin.action(description="Mute for a day", permissions=["moderate"])
    def mute_for_a_day(self, request: HttpRequest, queryset: QuerySet[Membership]) -> None:
        """Keep members from writing for a day."""
        self._mute(request, queryset, minutes=24 * 60)

    @admin.action(description="Mute until unmuted", permissions=["moderate"])
    def mute(self, request: HttpRequest, queryset: QuerySet[Membership]) -> None:
        """Keep members from writing."""
        self._mute(request, queryset, minutes=None)

    def _mute(self, request: HttpRequest, queryset: QuerySet[Membership], *, minutes: int | None) -> None:
        def service(group: str, user: str) -> object:
            return mute_member(None, MuteMember(group_id=group, user_id=user, minutes=minutes))

        self._do(request, queryset, "Muted.", service)

    @admin.action(description="Unmute", permissions=["moderate"])
    def unmute(self, request: HttpRequest, queryset: QuerySet[Membership]) -> None:
        """Let members write again."""
        self._do(request, queryset, "Unmuted.", lambda group, user: unmute_member(None, group, user))

    @admin.action(description="Make an admin of the group", permissions=["moderate"])
    def promote(self, request: HttpRequest, queryset: QuerySet[Membership]) -> None:
        """Make members admins."""
        self._do(request, queryset, "Promoted.", lambda group, user: promote_member(None, group, user))

    @admin.action(description="Make a plain member", permissions=["moderate"])
    def demote(self, request: HttpRequest, queryset: QuerySet[Membership]) -> None:
        """Make admins plain members."""
        self._do(request, queryset, "Demoted.", lambda group, user: demote_member(None, group, user))

    @admin.action(description="Make the owner of the group", permissions=["moderate"])
    def make_owner(self, request: HttpRequest, queryset: QuerySet[Membership]) -> None:
        """Transfer groups to these members."""
        self._do(request, queryset, "Made owner.", lambda group, user: transfer_ownership(None, group, user))

    def _do(
        self,
        request: HttpRequest,
        queryset: QuerySet[Membership],
        what: str,
        service: Callable[[str, str], object],
    ) -> None:
        done = [
            member
            for member in queryset
            if moderate(request, str(member), service, str(member.group_id), str(member.user_id))
        ]
        log_done(self, request, done, what)
