"""Groups and communities, one method for each request type."""

from __future__ import annotations

from django.conf import settings

from groups.schemas.groups import (
    Communities,
    CreateCommunity,
    CreateGroup,
    DeleteGroup,
    GetCommunities,
    GetGroupInfo,
    GetUserGroups,
    GroupCreated,
    GroupDeleted,
    GroupInfo,
    GroupInfoUpdated,
    GroupRestored,
    RestoreGroup,
    UpdateGroup,
    UserGroups,
)
from groups.schemas.members import (
    AddGroupMember,
    DemoteMember,
    GetGroupMembers,
    GroupMembers,
    JoinCommunity,
    LeaveCommunity,
    LeaveGroup,
    MemberAdded,
    MemberDemoted,
    MemberJoined,
    MemberLeft,
    MemberMuted,
    MemberPromoted,
    MemberRemoved,
    MemberUnmuted,
    MuteMember,
    OwnershipTransferred,
    PromoteMember,
    RemoveGroupMember,
    TransferOwnership,
    UnmuteMember,
)
from groups.schemas.messages import (
    AnnouncementSent,
    GetGroupMessages,
    GetPinnedMessages,
    GroupMessageSent,
    MessagePinned,
    MessageUnpinned,
    PinMessage,
    PinnedMessages,
    SendAnnouncement,
    SendGroupMessage,
    UnpinMessage,
)
from groups.services import ending, groups, listing, members, pins, roles
from messaging.delivery.caller import Caller
from messaging.delivery.sending import SendCommand, check_content
from messaging.gateway.pages import load_page
from messaging.gateway.worker import reading, submit, writing
from messaging.protocol.registry import handles
from messaging.schemas.messages import GetMessages, Messages, Sent


class GroupsConsumer:
    """Everything that only groups and communities have."""

    @handles(SendGroupMessage, is_pipelined=True)
    async def send_group_message(self, caller: Caller, request: SendGroupMessage) -> Sent:
        """Store a message and bring it to the members; the hub sends the reply in its place."""
        return await submit(
            SendCommand(
                caller=caller,
                reply_type=GroupMessageSent,
                content=check_content(request.content, length_max=settings.MAX_MESSAGE_LENGTH),
                conversation_id=request.group_id,
                client_message_id=request.client_message_id,
                reply_to_id=request.reply_to_message_id,
                is_for_group=True,
            )
        )

    @handles(SendAnnouncement, is_pipelined=True)
    async def send_announcement(self, caller: Caller, request: SendAnnouncement) -> Sent:
        """Store an announcement and bring it to the members."""
        return await submit(
            SendCommand(
                caller=caller,
                reply_type=AnnouncementSent,
                content=check_content(request.content, length_max=settings.MAX_MESSAGE_LENGTH),
                conversation_id=request.group_id,
                client_message_id=request.client_message_id,
                kind="announcement",
                is_for_group=True,
            )
        )

    @handles(GetGroupMessages)
    async def get_group_messages(self, caller: Caller, request: GetGroupMessages) -> Messages:
        """Load a page of a group's messages."""
        page = GetMessages(
            group_id=request.group_id,
            limit=request.limit,
            before=request.before,
            after=request.after,
            offset=request.offset,
            include_total=request.include_total,
        )
        return await load_page(caller, page)

    @handles(CreateGroup)
    async def create_group(self, caller: Caller, request: CreateGroup) -> GroupCreated:
        """Create a group."""
        return await writing(caller, groups.create_group, caller.user.key, request)

    @handles(CreateCommunity)
    async def create_community(self, caller: Caller, request: CreateCommunity) -> GroupCreated:
        """Create a community."""
        return await writing(caller, groups.create_community, caller.user.key, request)

    @handles(UpdateGroup)
    async def update_group(self, caller: Caller, request: UpdateGroup) -> GroupInfoUpdated:
        """Change what a group is called, how large it may get, or who may write."""
        return await writing(caller, groups.update_group, caller.user.key, request)

    @handles(GetGroupInfo)
    async def get_group_info(self, caller: Caller, request: GetGroupInfo) -> GroupInfo:
        """Look at a group."""
        return await reading(groups.group_info, caller.user.key, request.group_id)

    @handles(GetUserGroups)
    async def get_user_groups(self, caller: Caller, request: GetUserGroups) -> UserGroups:
        """List the caller's groups."""
        return await reading(listing.user_groups, caller.user.key, request)

    @handles(GetCommunities)
    async def get_communities(self, caller: Caller, request: GetCommunities) -> Communities:
        """Find communities."""
        return await reading(listing.communities, caller.user.key, request)

    @handles(DeleteGroup)
    async def delete_group(self, caller: Caller, request: DeleteGroup) -> GroupDeleted:
        """Delete a group."""
        return await writing(
            caller, ending.delete_group, caller.user.key, request.group_id, permanent=request.permanent
        )

    @handles(RestoreGroup)
    async def restore_group(self, caller: Caller, request: RestoreGroup) -> GroupRestored:
        """Bring a deleted group back."""
        return await writing(caller, ending.restore_group, caller.user.key, request.group_id)

    @handles(AddGroupMember)
    async def add_group_member(self, caller: Caller, request: AddGroupMember) -> MemberAdded:
        """Add people to a group."""
        return await writing(caller, members.add_members, caller.user.key, request)

    @handles(RemoveGroupMember)
    async def remove_group_member(self, caller: Caller, request: RemoveGroupMember) -> MemberRemoved:
        """Remove somebody from a group."""
        return await writing(caller, members.remove_member, caller.user.key, request.group_id, request.user_id)

    @handles(LeaveGroup)
    async def leave_group(self, caller: Caller, request: LeaveGroup) -> MemberLeft:
        """Leave a group."""
        return await writing(caller, members.leave_group, caller.user.key, request.group_id)

    @handles(JoinCommunity)
    async def join_community(self, caller: Caller, request: JoinCommunity) -> MemberJoined:
        """Join a community."""
        return await writing(caller, members.join_community, caller.user.key, request.community_id)

    @handles(LeaveCommunity)
    async def leave_community(self, caller: Caller, request: LeaveCommunity) -> MemberLeft:
        """Leave a community."""
        return await writing(caller, members.leave_group, caller.user.key, request.community_id, only_community=True)

    @handles(GetGroupMembers)
    async def get_group_members(self, caller: Caller, request: GetGroupMembers) -> GroupMembers:
        """List the members of a group."""
        return await reading(members.group_members, caller.user.key, request)

    @handles(PromoteMember)
    async def promote_member(self, caller: Caller, request: PromoteMember) -> MemberPromoted:
        """Make a member an admin."""
        return await writing(caller, roles.promote_member, caller.user.key, request.group_id, request.user_id)

    @handles(DemoteMember)
    async def demote_member(self, caller: Caller, request: DemoteMember) -> MemberDemoted:
        """Make an admin a member."""
        return await writing(caller, roles.demote_member, caller.user.key, request.group_id, request.user_id)

    @handles(TransferOwnership)
    async def transfer_ownership(self, caller: Caller, request: TransferOwnership) -> OwnershipTransferred:
        """Hand a group over."""
        return await writing(caller, roles.transfer_ownership, caller.user.key, request.group_id, request.user_id)

    @handles(MuteMember)
    async def mute_member(self, caller: Caller, request: MuteMember) -> MemberMuted:
        """Keep somebody from writing."""
        return await writing(caller, roles.mute_member, caller.user.key, request)

    @handles(UnmuteMember)
    async def unmute_member(self, caller: Caller, request: UnmuteMember) -> MemberUnmuted:
        """Let somebody write again."""
        return await writing(caller, roles.unmute_member, caller.user.key, request.group_id, request.user_id)

    @handles(PinMessage)
    async def pin_message(self, caller: Caller, request: PinMessage) -> MessagePinned:
        """Pin a message."""
        return await writing(caller, pins.pin_message, caller.user.key, request.group_id, request.message_id)

    @handles(UnpinMessage)
    async def unpin_message(self, caller: Caller, request: UnpinMessage) -> MessageUnpinned:
        """Unpin a message."""
        return await writing(caller, pins.unpin_message, caller.user.key, request.group_id, request.message_id)

    @handles(GetPinnedMessages)
    async def get_pinned_messages(self, caller: Caller, request: GetPinnedMessages) -> PinnedMessages:
        """List what is pinned."""
        return await reading(pins.pinned_messages, caller.user.key, request.group_id)
