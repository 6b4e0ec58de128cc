"""Direct messages and what both kinds of conversation share, one method for each request type."""

from __future__ import annotations

from django.conf import settings

from messaging import services
from messaging.delivery.caller import Caller
from messaging.delivery.memberships import user_key
from messaging.delivery.sending import SendCommand, check_content
from messaging.errors import NotFound
from messaging.gateway.pages import load_page
from messaging.gateway.turns import Turns
from messaging.gateway.typing import TypingRelay
from messaging.gateway.worker import reading, submit, writing
from messaging.protocol.errors import ValidationFailed
from messaging.protocol.registry import handles
from messaging.schemas.conversations import (
    ConversationDeleted,
    Conversations,
    ConversationStarted,
    DeleteConversation,
    GetConversations,
    MarkRead,
    MessagesRead,
    StartConversation,
    Typing,
)
from messaging.schemas.messages import (
    AddReaction,
    DeleteMessage,
    GetMessages,
    MessageDeleted,
    MessageEdited,
    Messages,
    MessageSent,
    ReactionAdded,
    ReactionRemoved,
    RemoveReaction,
    SearchMessages,
    SearchResults,
    SendMessage,
    Sent,
    UpdateMessage,
)
from messaging.schemas.people import (
    BlockedUsers,
    BlockUser,
    FollowUser,
    GetBlockedUsers,
    UnblockUser,
    UnfollowUser,
    UserBlockedReply,
    UserFollowed,
    UserUnblocked,
    UserUnfollowed,
)

SEARCHES_AT_ONCE = 2  # of a worker; each may keep a thread and the interpreter busy for a third of a second


class MessagingConsumer:
    """Direct messages and everything that both kinds of conversation share."""

    def __init__(self) -> None:
        """Start with nobody typing or searching."""
        self._typing = TypingRelay()
        self._searches = Turns(most=SEARCHES_AT_ONCE)

    @handles(StartConversation)
    async def start_conversation(self, caller: Caller, request: StartConversation) -> ConversationStarted:
        """Open the direct conversation with somebody."""
        return await writing(caller, services.start_conversation, caller.user.key, request.recipient_id)

    @handles(SendMessage, is_pipelined=True)
    async def send_message(self, caller: Caller, request: SendMessage) -> Sent:
        """Store a message and bring it to everyone in the conversation; the hub sends the reply in its place."""
        if (request.recipient_id is None) == (request.conversation_id is None):
            raise ValidationFailed("name either recipientId or conversationId", field="recipientId")
        return await submit(
            SendCommand(
                caller=caller,
                reply_type=MessageSent,
                content=check_content(request.content, length_max=settings.MAX_MESSAGE_LENGTH),
                recipient=_recipient(caller, request.recipient_id),
                conversation_id=request.conversation_id,
                client_message_id=request.client_message_id,
                reply_to_id=request.reply_to_message_id,
            )
        )

    @handles(GetMessages)
    async def get_messages(self, caller: Caller, request: GetMessages) -> Messages:
        """Load a page of messages."""
        return await load_page(caller, request)

    @handles(UpdateMessage)
    async def update_message(self, caller: Caller, request: UpdateMessage) -> MessageEdited:
        """Replace the text of the caller's own message while its edit window is open."""
        return await writing(
            caller, services.edit_message, caller.user.key, request.message_id, content=request.content
        )

    @handles(DeleteMessage)
    async def delete_message(self, caller: Caller, request: DeleteMessage) -> MessageDeleted:
        """Delete a message, for everyone or for the caller alone."""
        if request.for_everyone:
            return await writing(caller, services.delete_for_everyone, caller.user.key, request.message_id)
        client_id = caller.connection.client_id
        return await writing(caller, services.delete_for_self, caller.user.key, request.message_id, client_id=client_id)

    @handles(AddReaction)
    async def add_reaction(self, caller: Caller, request: AddReaction) -> ReactionAdded:
        """Put an emoji under a message."""
        return await writing(caller, services.add_reaction, caller.user.key, request.message_id, emoji=request.emoji)

    @handles(RemoveReaction)
    async def remove_reaction(self, caller: Caller, request: RemoveReaction) -> ReactionRemoved:
        """Take the caller's emoji away."""
        return await writing(caller, services.remove_reaction, caller.user.key, request.message_id, emoji=request.emoji)

    @handles(Typing)
    async def typing(self, caller: Caller, request: Typing) -> None:
        """Tell the others that the caller types, or no more; there is no reply."""
        await self._typing.relay(caller, request)

    @handles(MarkRead)
    async def mark_read(self, caller: Caller, request: MarkRead) -> MessagesRead:
        """Move the caller's read position on."""
        client_id = caller.connection.client_id
        return await writing(caller, services.mark_read, caller.user.key, request, client_id=client_id)

    @handles(GetConversations)
    async def get_conversations(self, caller: Caller, request: GetConversations) -> Conversations:
        """List the caller's conversations."""
        return await reading(services.get_conversations, caller.user.key, request)

    @handles(DeleteConversation)
    async def delete_conversation(self, caller: Caller, request: DeleteConversation) -> ConversationDeleted:
        """Hide everything up to now for the caller alone."""
        key, client_id = caller.user.key, caller.connection.client_id
        return await writing(caller, services.delete_conversation, key, request.conversation_id, client_id=client_id)

    @handles(SearchMessages)
    async def search_messages(self, caller: Caller, request: SearchMessages) -> SearchResults:
        """Find messages by their words."""
        async with self._searches.one():
            return await reading(services.search_messages, caller.user.key, request)

    @handles(BlockUser)
    async def block_user(self, caller: Caller, request: BlockUser) -> UserBlockedReply:
        """Block somebody, both ways."""
        client_id = caller.connection.client_id
        return await writing(caller, services.block_user, caller.user.key, request.user_id, client_id=client_id)

    @handles(UnblockUser)
    async def unblock_user(self, caller: Caller, request: UnblockUser) -> UserUnblocked:
        """Lift the caller's own block."""
        client_id = caller.connection.client_id
        return await writing(caller, services.unblock_user, caller.user.key, request.user_id, client_id=client_id)

    @handles(FollowUser)
    async def follow_user(self, caller: Caller, request: FollowUser) -> UserFollowed:
        """Follow somebody."""
        return await writing(caller, services.follow_user, caller.user.key, request.user_id)

    @handles(UnfollowUser)
    async def unfollow_user(self, caller: Caller, request: UnfollowUser) -> UserUnfollowed:
        """Follow somebody no more."""
        return await writing(caller, services.unfollow_user, caller.user.key, request.user_id)

    @handles(GetBlockedUsers)
    async def get_blocked_users(self, caller: Caller, request: GetBlockedUsers) -> BlockedUsers:
        """List whom the caller has blocked."""
        del request
        return await reading(services.blocked_users, caller.user.key)


def _recipient(caller: Caller, recipient_id: str | None) -> object:
    """Return the key of whom a message is for; whether they exist is looked up with the whole batch."""
    if recipient_id is None:
        return None
    if recipient_id == caller.user.user_id:
        raise ValidationFailed("this cannot be done to oneself", field="recipientId")
    if (key := user_key(recipient_id)) is None:
        raise NotFound("there is no such user", field="recipientId")
    return key
