"""Messaging's requests, replies and events: camelCase on the wire, every string and number bounded."""

from __future__ import annotations

import datetime as dt
from typing import Annotated, ClassVar

import msgspec
from msgspec import UNSET, Meta, UnsetType

from messaging.protocol.registry import Request

# Ids of conversations and messages are lower-case UUIDs, kept as the strings they are on the wire: a dictionary finds a
# string by its cached hash, while uuid.UUID hashes in Python on every look-up.
ConversationId = Annotated[str, Meta(pattern="^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")]
MessageId = ConversationId
UserId = Annotated[str, Meta(min_length=1, max_length=255)]  # whatever the user model's key is, as text
ClientMessageId = Annotated[str, Meta(min_length=1, max_length=128)]
Emoji = Annotated[str, Meta(min_length=1, max_length=32)]
Seq = Annotated[int, Meta(ge=0, le=2**53 - 1)]  # what a JavaScript number holds exactly
PageLimit = Annotated[int, Meta(ge=1, le=200)]
Cursors = Annotated[dict[ConversationId, Seq], Meta(max_length=5_000)]


class Frame(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """Anything the server sends; subclasses name their type on the wire as their tag."""


class Sequenced(Frame, frozen=True, kw_only=True):
    """A reply to a change: with a `seq` the hub puts it in that event's place, without one nothing was changed."""

    conversation_id: str
    group_id: str | UnsetType = UNSET
    seq: int | UnsetType = UNSET
    timestamp: str | UnsetType = UNSET
    changed: bool | UnsetType = UNSET


# What a message and the people around it look like.


class Profile(Frame, frozen=True, kw_only=True):
    """A user as others see them; all None but `user_id` once the account is gone."""

    user_id: str | None
    username: str | None
    display_name: str | None
    profile_image: str | None


class ReplyTo(Frame, frozen=True, kw_only=True):
    """What a message answers."""

    message_id: str
    sender_id: str | None
    excerpt: str | UnsetType = UNSET  # absent when the target is deleted or not this reader's to see


class MentionOf(Frame, frozen=True, kw_only=True):
    """Someone whom a message mentions."""

    type: str  # "user" or "everyone"
    user_id: str | UnsetType = UNSET
    username: str | UnsetType = UNSET


class ReactionCount(Frame, frozen=True, kw_only=True):
    """One emoji under a message, with who chose it in the order of their choosing."""

    emoji: str
    count: int
    user_ids: list[str]


class MessageView(Frame, frozen=True, kw_only=True):
    """A message as a reader sees it; a tombstone has `is_deleted` and no content."""

    message_id: str
    conversation_id: str
    group_id: str | UnsetType = UNSET
    seq: int
    kind: str
    sender: Profile
    content: str | None
    client_message_id: str | None
    reply_to: ReplyTo | None
    mentions: list[MentionOf]
    reactions: list[ReactionCount]
    created_at: str
    edited_at: str | None
    is_edited: bool
    is_deleted: bool
    is_pinned: bool
    is_unreadable: bool | UnsetType = UNSET  # the stored content could not be decrypted


# The connection.


class Connect(Request, frozen=True, kw_only=True):
    """Authenticate, or renew the token of an authenticated connection."""

    wire_types: ClassVar[tuple[str, ...]] = ("connect", "authenticate", "auth")
    token: Annotated[str, Meta(max_length=16_384)] | None = None
    resume: Cursors | None = None
    ack: bool = False


class Ping(Request, frozen=True, kw_only=True):
    """Show a sign of life, and acknowledge on the way."""

    wire_types: ClassVar[tuple[str, ...]] = ("ping",)
    cursors: Cursors | None = None


class Test(Request, frozen=True, kw_only=True):
    """See whether anybody answers."""

    __test__: ClassVar[bool] = False  # it is no test case, whatever pytest thinks of its name
    wire_types: ClassVar[tuple[str, ...]] = ("test",)


class Ack(Request, frozen=True, kw_only=True):
    """Acknowledge what has arrived, up to these seqs."""

    wire_types: ClassVar[tuple[str, ...]] = ("ack",)
    cursors: Cursors


class Sync(Request, frozen=True, kw_only=True):
    """Ask for everything after these cursors."""

    wire_types: ClassVar[tuple[str, ...]] = ("sync",)
    cursors: Cursors


class Connected(Frame, frozen=True, kw_only=True, tag="connected", tag_field="type"):
    """The welcome."""

    client_id: str
    requires_auth: bool
    protocol_version: int
    heartbeat_interval: int  # seconds
    timestamp: str


class AuthSuccess(Frame, frozen=True, kw_only=True, tag="auth_success", tag_field="type"):
    """Whose connection this now is, and until when."""

    user_id: str
    username: str
    display_name: str
    profile_image: str | None
    expires_at: str


class SyncComplete(Frame, frozen=True, kw_only=True, tag="sync_complete", tag_field="type"):
    """Everything asked for has been written, but for the conversations named in `incomplete`."""

    delivered: int
    has_more: bool
    incomplete: list[str]


class TokenExpiring(Frame, frozen=True, kw_only=True, tag="token_expiring", tag_field="type"):
    """The token ends within a minute."""

    expires_at: str


class SessionRevoked(Frame, frozen=True, kw_only=True, tag="session_revoked", tag_field="type"):
    """The token was revoked or its user deactivated."""

    reason: str


class Pong(Frame, frozen=True, kw_only=True, tag="pong", tag_field="type"):
    """The answer to a ping."""

    timestamp: str


class TestResponse(Frame, frozen=True, kw_only=True, tag="test_response", tag_field="type"):
    """The answer to a test."""

    __test__: ClassVar[bool] = False
    message: str
    timestamp: str


class Skipped(Frame, frozen=True, kw_only=True, tag="skipped", tag_field="type"):
    """The place of an event about a message that this user may not see."""

    conversation_id: str
    seq: int


# Conversations and messages.


class StartConversation(Request, frozen=True, kw_only=True):
    """Open the direct conversation with someone."""

    wire_types: ClassVar[tuple[str, ...]] = ("start_conversation",)
    recipient_id: UserId


class ConversationStarted(Frame, frozen=True, kw_only=True, tag="conversation_started", tag_field="type"):
    """A direct conversation and its newest page."""

    conversation_id: str
    recipient: Profile
    messages: list[MessageView]
    has_more: bool
    last_seq: int
    read_seq: int


class SendMessage(Request, frozen=True, kw_only=True):
    """Send a message to a person or into a conversation."""

    wire_types: ClassVar[tuple[str, ...]] = ("send_message",)
    recipient_id: UserId | None = None
    conversation_id: ConversationId | None = None
    content: str
    client_message_id: ClientMessageId | None = None
    reply_to_message_id: MessageId | None = None


class Sent(Sequenced, frozen=True, kw_only=True):
    """A message is stored and on its way."""

    message_id: str
    client_message_id: str | None
    message: msgspec.Raw  # a MessageView, encoded once for reply and event
    recipient_online: bool | UnsetType = UNSET  # in direct conversations
    warning: str | UnsetType = UNSET
    duplicate: bool | UnsetType = UNSET


class MessageSent(Sent, frozen=True, kw_only=True, tag="message_sent", tag_field="type"):
    """The answer to `send_message`."""


class MessageEvent(Sequenced, frozen=True, kw_only=True):
    """Someone wrote."""

    message: msgspec.Raw  # a MessageView


class NewMessage(MessageEvent, frozen=True, kw_only=True, tag="new_message", tag_field="type"):
    """Someone wrote in a direct conversation."""


class NewGroupMessage(MessageEvent, frozen=True, kw_only=True, tag="new_group_message", tag_field="type"):
    """Someone wrote in a group."""


class NewAnnouncement(MessageEvent, frozen=True, kw_only=True, tag="new_announcement", tag_field="type"):
    """An admin announced something in a group."""


MESSAGE_EVENTS: dict[str, type[MessageEvent]] = {
    "new_message": NewMessage,
    "new_group_message": NewGroupMessage,
    "new_announcement": NewAnnouncement,
}


class GetMessages(Request, frozen=True, kw_only=True):
    """Load a page of messages."""

    wire_types: ClassVar[tuple[str, ...]] = ("get_messages",)
    conversation_id: ConversationId | None = None
    recipient_id: UserId | None = None
    group_id: ConversationId | None = None
    limit: PageLimit = 50
    before: Seq | None = None
    after: Seq | None = None
    offset: Seq | None = None
    include_total: bool = False


class Messages(Frame, frozen=True, kw_only=True, tag="messages", tag_field="type"):
    """A page of messages in chronological order."""

    conversation_id: str
    messages: list[MessageView]
    has_more: bool
    total: int | UnsetType = UNSET


class UpdateMessage(Request, frozen=True, kw_only=True):
    """Replace the text of one's own message."""

    wire_types: ClassVar[tuple[str, ...]] = ("update_message",)
    message_id: MessageId
    content: str


class MessageEdited(Sequenced, frozen=True, kw_only=True, tag="message_edited", tag_field="type"):
    """A message has another text."""

    message_id: str
    content: str
    edited_at: str
    mentions: list[MentionOf]


class DeleteMessage(Request, frozen=True, kw_only=True):
    """Delete a message for oneself, or for everyone."""

    wire_types: ClassVar[tuple[str, ...]] = ("delete_message",)
    message_id: MessageId
    for_everyone: bool = False


class MessageDeleted(Sequenced, frozen=True, kw_only=True, tag="message_deleted", tag_field="type"):
    """A message is gone: for everyone with a seq, else for this user alone."""

    message_id: str
    for_everyone: bool


class AddReaction(Request, frozen=True, kw_only=True):
    """Put an emoji under a message."""

    wire_types: ClassVar[tuple[str, ...]] = ("add_reaction",)
    message_id: MessageId
    emoji: Emoji


class RemoveReaction(Request, frozen=True, kw_only=True):
    """Take one's own emoji away."""

    wire_types: ClassVar[tuple[str, ...]] = ("remove_reaction",)
    message_id: MessageId
    emoji: Emoji


class Reacted(Sequenced, frozen=True, kw_only=True):
    """Whose emoji under which message."""

    message_id: str
    emoji: str
    user_id: str


class ReactionAdded(Reacted, frozen=True, kw_only=True, tag="reaction_added", tag_field="type"):
    """This emoji of this user is there."""


class ReactionRemoved(Reacted, frozen=True, kw_only=True, tag="reaction_removed", tag_field="type"):
    """This emoji of this user is not there (any more)."""


# Where people stand in conversations.


class MarkRead(Request, frozen=True, kw_only=True):
    """Say how far one has read: up to a seq of a conversation, or up to a message."""

    wire_types: ClassVar[tuple[str, ...]] = ("mark_read", "mark_message_read")
    conversation_id: ConversationId | None = None
    seq: Seq | None = None
    message_id: MessageId | None = None


class MessagesRead(Frame, frozen=True, kw_only=True, tag="messages_read", tag_field="type"):
    """How far somebody has read."""

    conversation_id: str
    user_id: str
    read_seq: int
    changed: bool | UnsetType = UNSET  # False in a reply: it was there already


class Typing(Request, frozen=True, kw_only=True):
    """Say that one is typing, or no more."""

    wire_types: ClassVar[tuple[str, ...]] = ("typing",)
    conversation_id: ConversationId | None = None
    recipient_id: UserId | None = None
    group_id: ConversationId | None = None
    is_typing: bool


class UserTyping(Frame, frozen=True, kw_only=True, tag="user_typing", tag_field="type"):
    """Somebody is typing, or no more."""

    conversation_id: str
    user_id: str
    is_typing: bool


class GetConversations(Request, frozen=True, kw_only=True):
    """List one's conversations, those with the newest message first."""

    wire_types: ClassVar[tuple[str, ...]] = ("get_conversations",)
    limit: PageLimit = 50
    before: Annotated[str, Meta(max_length=256)] | None = None  # the `next_cursor` of the page before


class ConversationView(Frame, frozen=True, kw_only=True):
    """A conversation in somebody's list."""

    conversation_id: str
    group_id: str | UnsetType = UNSET
    kind: str
    peer: Profile | UnsetType = UNSET  # in direct conversations
    last_message: MessageView | None
    last_seq: int
    read_seq: int
    unread_count: int
    mention_count: int
    peer_read_seq: int | None  # None in groups and while blocked
    peer_delivered_seq: int | None
    updated_at: str


class Conversations(Frame, frozen=True, kw_only=True, tag="conversations", tag_field="type"):
    """A page of somebody's conversations."""

    conversations: list[ConversationView]
    has_more: bool
    next_cursor: str | None


class DeleteConversation(Request, frozen=True, kw_only=True):
    """Hide everything up to now for oneself alone."""

    wire_types: ClassVar[tuple[str, ...]] = ("delete_conversation",)
    conversation_id: ConversationId


class ConversationDeleted(Frame, frozen=True, kw_only=True, tag="conversation_deleted", tag_field="type"):
    """Everything up to now is hidden for this user."""

    conversation_id: str


# People.


class BlockUser(Request, frozen=True, kw_only=True):
    """Block someone, both ways."""

    wire_types: ClassVar[tuple[str, ...]] = ("block_user",)
    user_id: UserId


class UnblockUser(Request, frozen=True, kw_only=True):
    """Lift one's own block."""

    wire_types: ClassVar[tuple[str, ...]] = ("unblock_user",)
    user_id: UserId


class FollowUser(Request, frozen=True, kw_only=True):
    """Follow someone."""

    wire_types: ClassVar[tuple[str, ...]] = ("follow_user",)
    user_id: UserId


class UnfollowUser(Request, frozen=True, kw_only=True):
    """Follow someone no more."""

    wire_types: ClassVar[tuple[str, ...]] = ("unfollow_user",)
    user_id: UserId


class GetBlockedUsers(Request, frozen=True, kw_only=True):
    """List whom one has blocked."""

    wire_types: ClassVar[tuple[str, ...]] = ("get_blocked_users",)


class UserBlockedReply(Frame, frozen=True, kw_only=True, tag="user_blocked", tag_field="type"):
    """This user is blocked."""

    user_id: str


class UserUnblocked(Frame, frozen=True, kw_only=True, tag="user_unblocked", tag_field="type"):
    """This user is not blocked (any more)."""

    user_id: str


class UserFollowed(Frame, frozen=True, kw_only=True, tag="user_followed", tag_field="type"):
    """This user is followed."""

    user_id: str


class UserUnfollowed(Frame, frozen=True, kw_only=True, tag="user_unfollowed", tag_field="type"):
    """This user is not followed (any more)."""

    user_id: str


class BlockedUsers(Frame, frozen=True, kw_only=True, tag="blocked_users", tag_field="type"):
    """Whom one has blocked."""

    users: list[Profile]


def wire_time(moment: dt.datetime) -> str:
    """Return a moment as RFC 3339 in UTC with milliseconds, e.g. `2026-11-23T09:00:00.000Z`."""
    moment = moment.astimezone(dt.UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03d}Z"


def wire_now() -> str:
    """Return this machine's time as it stands on the wire; stored times are the database's."""
    return wire_time(dt.datetime.now(dt.UTC))
