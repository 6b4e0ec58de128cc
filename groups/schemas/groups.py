"""Groups and communities themselves, on the wire."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from msgspec import UNSET, Meta, UnsetType

from groups.schemas.members import MemberView
from messaging.protocol.registry import Request
from messaging.schemas.wire import ConversationId, Frame, PageLimit, Sequenced, UserId

GroupName = Annotated[str, Meta(max_length=1_000)]  # trimmed to 1 to 100 characters
Description = Annotated[str, Meta(max_length=5_000)]  # trimmed to at most 500 characters
GroupSize = Annotated[int, Meta(ge=2, le=1_000)]
CommunitySize = Annotated[int, Meta(ge=2, le=100_000)]
UserIds = Annotated[list[UserId], Meta(max_length=50)]
PostingPolicy = Literal["everyone", "admins"]
Cursor = Annotated[str, Meta(max_length=256)]  # the `next_cursor` of the page before


class GroupView(Frame, frozen=True, kw_only=True):
    """What somebody sees of a group."""

    group_id: str
    name: str
    description: str
    kind: str  # "group" or "community"
    owner_id: str | None
    member_count: int
    max_members: int
    posting_policy: str
    is_public: bool  # whether strangers find it and may join
    is_frozen: bool  # by a moderator: nothing new until thawed
    created_at: str
    role: str | UnsetType | None = UNSET  # the reader's; None for strangers, absent in events


class CreateGroup(Request, frozen=True, kw_only=True):
    """Create a group with its first members."""

    wire_types: ClassVar[tuple[str, ...]] = ("create_group",)
    name: GroupName
    description: Description = ""
    member_ids: UserIds = []
    max_members: GroupSize = 50


class CreateCommunity(Request, frozen=True, kw_only=True):
    """Create a community with its first members."""

    wire_types: ClassVar[tuple[str, ...]] = ("create_community",)
    name: GroupName
    description: Description = ""
    member_ids: UserIds = []
    max_members: CommunitySize = 10_000
    is_public: bool = True
    posting_policy: PostingPolicy = "everyone"


class GroupCreated(Sequenced, frozen=True, kw_only=True, tag="group_created", tag_field="type"):
    """There is a new group, with these members."""

    group: GroupView
    members: list[MemberView]


class UpdateGroup(Request, frozen=True, kw_only=True):
    """Change what a group is called, how large it may get, or who may write in it."""

    wire_types: ClassVar[tuple[str, ...]] = ("update_group",)
    group_id: ConversationId
    name: GroupName | UnsetType = UNSET
    description: Description | UnsetType = UNSET
    max_members: CommunitySize | UnsetType = UNSET
    posting_policy: PostingPolicy | UnsetType = UNSET


class Changes(Frame, frozen=True, kw_only=True):
    """What is different now."""

    name: str | UnsetType = UNSET
    description: str | UnsetType = UNSET
    max_members: int | UnsetType = UNSET
    posting_policy: str | UnsetType = UNSET
    is_frozen: bool | UnsetType = UNSET  # by a moderator


class GroupInfoUpdated(Sequenced, frozen=True, kw_only=True, tag="group_info_updated", tag_field="type"):
    """A group is described differently now."""

    changes: Changes
    updated_by: str | None  # None: a moderator of the service, as in all events


class GetGroupInfo(Request, frozen=True, kw_only=True):
    """Look at a group."""

    wire_types: ClassVar[tuple[str, ...]] = ("get_group_info",)
    group_id: ConversationId


class GroupInfo(Frame, frozen=True, kw_only=True, tag="group_info", tag_field="type"):
    """A group as the reader sees it."""

    group: GroupView


class GetUserGroups(Request, frozen=True, kw_only=True):
    """List the groups and communities that one is in, the newest membership first."""

    wire_types: ClassVar[tuple[str, ...]] = ("get_user_groups",)
    limit: PageLimit = 50
    before: Cursor | None = None


class UserGroups(Frame, frozen=True, kw_only=True, tag="user_groups", tag_field="type"):
    """A page of the groups that somebody is in."""

    groups: list[GroupView]
    has_more: bool
    next_cursor: str | None


class GetCommunities(Request, frozen=True, kw_only=True):
    """Find communities, the largest first."""

    wire_types: ClassVar[tuple[str, ...]] = ("get_communities",)
    query: Annotated[str, Meta(max_length=200)] | None = None  # each word has to be in the name or the description
    joined: bool | None = None  # only those that one is in, or only the others
    limit: PageLimit = 50
    before: Cursor | None = None


class Communities(Frame, frozen=True, kw_only=True, tag="communities", tag_field="type"):
    """A page of communities."""

    communities: list[GroupView]
    has_more: bool
    next_cursor: str | None


class DeleteGroup(Request, frozen=True, kw_only=True):
    """Delete a group, so that it can be restored for a while, or for good."""

    wire_types: ClassVar[tuple[str, ...]] = ("delete_group",)
    group_id: ConversationId
    permanent: bool = False


class GroupDeleted(Sequenced, frozen=True, kw_only=True, tag="group_deleted", tag_field="type"):
    """A group is gone; until `purge_at` its owner can restore it, unless it is gone for good."""

    permanent: bool
    purge_at: str | None


class RestoreGroup(Request, frozen=True, kw_only=True):
    """Bring a deleted group back."""

    wire_types: ClassVar[tuple[str, ...]] = ("restore_group",)
    group_id: ConversationId


class GroupRestored(Sequenced, frozen=True, kw_only=True, tag="group_restored", tag_field="type"):
    """A deleted group is back."""
