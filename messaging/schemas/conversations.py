"""Conversations, and where people stand in them, on the wire."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar

import msgspec
from msgspec import UNSET, Meta, UnsetType

from messaging.protocol.registry import Request
from messaging.schemas.messages import MessageView
from messaging.schemas.wire import ConversationId, Frame, MessageId, PageLimit, Profile, Seq, UserId


class StartConversation(Request, frozen=True, kw_only=True):
    """Open the direct conversation with someone."""

    wire_types: ClassVar[tuple[str, ...]] = ("start_conversation",)
    recipient_id: UserId


class ConversationStarted(Frame, frozen=True, kw_only=True, tag="conversation_started", tag_field="type"):
    """A direct conversation and its newest page."""

    conversation_id: str
    recipient: Profile
    messages: Sequence[MessageView | msgspec.Raw]  # encoded, where a page is kept ready
    has_more: bool
    last_seq: int
    read_seq: int


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


class MessagesDelivered(Frame, frozen=True, kw_only=True, tag="messages_delivered", tag_field="type"):
    """How far the other person of a direct conversation has received it."""

    conversation_id: str
    user_id: str
    delivered_seq: int


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
    group: msgspec.Struct | UnsetType = UNSET  # in groups, as the groups app describes it
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
    cleared_seq: int  # what "now" was: a message that came after it may be told of before this
