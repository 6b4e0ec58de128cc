"""Members and their roles, on the wire."""

from __future__ import annotations

from typing import Annotated, ClassVar

import msgspec
from msgspec import Meta

from messaging.protocol.registry import Request
from messaging.schemas.wire import ConversationId, Frame, PageLimit, Profile, Sequenced, UserId

MINUTES_MAX = 525_600  # a year


class MemberView(Profile, frozen=True, kw_only=True):
    """A new member."""

    role: str


class ListedMember(MemberView, frozen=True, kw_only=True):
    """A member in a list."""

    joined_at: str
    is_muted: bool
    is_online: bool


class AddGroupMember(Request, frozen=True, kw_only=True):
    """Add people to a group, all or none."""

    wire_types: ClassVar[tuple[str, ...]] = ("add_group_member",)
    group_id: ConversationId
    user_id: UserId | None = None
    user_ids: Annotated[list[UserId], Meta(min_length=1, max_length=50)] | None = None


class MemberAdded(Sequenced, frozen=True, kw_only=True, tag="member_added", tag_field="type"):
    """These people are members now."""

    members: list[MemberView]
    added_by: str | None


class RemoveGroupMember(Request, frozen=True, kw_only=True):
    """Remove somebody from a group."""

    wire_types: ClassVar[tuple[str, ...]] = ("remove_group_member",)
    group_id: ConversationId
    user_id: UserId


class MemberRemoved(Sequenced, frozen=True, kw_only=True, tag="member_removed", tag_field="type"):
    """Somebody was removed."""

    user_id: str
    removed_by: str | None


class LeaveGroup(Request, frozen=True, kw_only=True):
    """Leave a group."""

    wire_types: ClassVar[tuple[str, ...]] = ("leave_group",)
    group_id: ConversationId


class LeaveCommunity(Request, frozen=True, kw_only=True):
    """Leave a community."""

    wire_types: ClassVar[tuple[str, ...]] = ("leave_community",)
    community_id: ConversationId


class MemberLeft(Sequenced, frozen=True, kw_only=True, tag="member_left", tag_field="type"):
    """Somebody left."""

    user_id: str


class JoinCommunity(Request, frozen=True, kw_only=True):
    """Join a public community."""

    wire_types: ClassVar[tuple[str, ...]] = ("join_community",)
    community_id: ConversationId


class MemberJoined(Sequenced, frozen=True, kw_only=True, tag="member_joined", tag_field="type"):
    """Somebody joined."""

    user: MemberView


class GetGroupMembers(Request, frozen=True, kw_only=True):
    """List the members of a group in the order of their joining."""

    wire_types: ClassVar[tuple[str, ...]] = ("get_group_members",)
    group_id: ConversationId
    limit: PageLimit = 50
    before: Annotated[str, Meta(max_length=256)] | None = None  # the `next_cursor` of the page before


class GroupMembers(Frame, frozen=True, kw_only=True, tag="group_members", tag_field="type"):
    """A page of a group's members."""

    group_id: str
    members: list[ListedMember]
    has_more: bool
    next_cursor: str | None


class PromoteMember(Request, frozen=True, kw_only=True):
    """Make a member an admin."""

    wire_types: ClassVar[tuple[str, ...]] = ("promote_member",)
    group_id: ConversationId
    user_id: UserId


class MemberPromoted(Sequenced, frozen=True, kw_only=True, tag="member_promoted", tag_field="type"):
    """Somebody is an admin now."""

    user_id: str
    role: str


class DemoteMember(Request, frozen=True, kw_only=True):
    """Make an admin a member."""

    wire_types: ClassVar[tuple[str, ...]] = ("demote_member",)
    group_id: ConversationId
    user_id: UserId


class MemberDemoted(Sequenced, frozen=True, kw_only=True, tag="member_demoted", tag_field="type"):
    """Somebody is an admin no more."""

    user_id: str
    role: str


class TransferOwnership(Request, frozen=True, kw_only=True):
    """Hand a group over to one of its members."""

    wire_types: ClassVar[tuple[str, ...]] = ("transfer_ownership",)
    group_id: ConversationId
    user_id: UserId


class OwnershipTransferred(Sequenced, frozen=True, kw_only=True, tag="ownership_transferred", tag_field="type"):
    """A group has another owner; the former one is an admin."""

    former_id: str = msgspec.field(name="from")
    owner_id: str = msgspec.field(name="to")


class MuteMember(Request, frozen=True, kw_only=True):
    """Keep somebody from writing, for a time or until they are unmuted."""

    wire_types: ClassVar[tuple[str, ...]] = ("mute_member",)
    group_id: ConversationId
    user_id: UserId
    minutes: Annotated[int, Meta(ge=1, le=MINUTES_MAX)] | None = None


class MemberMuted(Sequenced, frozen=True, kw_only=True, tag="member_muted", tag_field="type"):
    """Somebody may not write until then; None: until they are unmuted."""

    user_id: str
    until: str | None


class UnmuteMember(Request, frozen=True, kw_only=True):
    """Let somebody write again."""

    wire_types: ClassVar[tuple[str, ...]] = ("unmute_member",)
    group_id: ConversationId
    user_id: UserId


class MemberUnmuted(Sequenced, frozen=True, kw_only=True, tag="member_unmuted", tag_field="type"):
    """Somebody may write again."""

    user_id: str
    until: None = None
