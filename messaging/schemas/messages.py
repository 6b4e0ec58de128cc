"""Messages, and what is done to them, on the wire."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar

import msgspec
from msgspec import UNSET, Meta, UnsetType

from messaging.protocol.registry import Request
from messaging.schemas.wire import (
    ClientMessageId,
    ConversationId,
    Emoji,
    Frame,
    MessageId,
    PageLimit,
    Profile,
    Seq,
    Sequenced,
    UserId,
)


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
    messages: Sequence[MessageView | msgspec.Raw]  # encoded, where a page is kept ready
    has_more: bool
    total: int | UnsetType = UNSET


class SearchMessages(Request, frozen=True, kw_only=True):
    """Find messages that hold every word of a query, the newest first."""

    wire_types: ClassVar[tuple[str, ...]] = ("search_messages",)
    query: Annotated[str, Meta(max_length=200)]
    conversation_id: ConversationId | None = None  # only there
    limit: PageLimit = 50
    before: Annotated[str, Meta(max_length=256)] | None = None  # the `next_cursor` of the page before


class SearchResults(Frame, frozen=True, kw_only=True, tag="search_results", tag_field="type"):
    """A page of what was found; it may hold less than was asked for, and still there may be more."""

    messages: list[MessageView]
    has_more: bool
    next_cursor: str | None


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
