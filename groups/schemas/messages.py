"""Messages in groups, announcements and pins, on the wire."""

from __future__ import annotations

from typing import ClassVar

from messaging.protocol.registry import Request
from messaging.schemas.messages import MessageView, Sent
from messaging.schemas.wire import ClientMessageId, ConversationId, Frame, MessageId, PageLimit, Seq, Sequenced


class SendGroupMessage(Request, frozen=True, kw_only=True):
    """Write to a group."""

    wire_types: ClassVar[tuple[str, ...]] = ("send_group_message",)
    group_id: ConversationId
    content: str
    client_message_id: ClientMessageId | None = None
    reply_to_message_id: MessageId | None = None


class GroupMessageSent(Sent, frozen=True, kw_only=True, tag="group_message_sent", tag_field="type"):
    """The answer to `send_group_message`."""


class SendAnnouncement(Request, frozen=True, kw_only=True):
    """Announce something to a group."""

    wire_types: ClassVar[tuple[str, ...]] = ("send_announcement",)
    group_id: ConversationId
    content: str
    client_message_id: ClientMessageId | None = None


class AnnouncementSent(Sent, frozen=True, kw_only=True, tag="announcement_sent", tag_field="type"):
    """The answer to `send_announcement`."""


class GetGroupMessages(Request, frozen=True, kw_only=True):
    """Load a page of a group's messages; as `get_messages`."""

    wire_types: ClassVar[tuple[str, ...]] = ("get_group_messages",)
    group_id: ConversationId
    limit: PageLimit = 50
    before: Seq | None = None
    after: Seq | None = None
    offset: Seq | None = None
    include_total: bool = False


class PinMessage(Request, frozen=True, kw_only=True):
    """Pin a message."""

    wire_types: ClassVar[tuple[str, ...]] = ("pin_message",)
    group_id: ConversationId
    message_id: MessageId


class MessagePinned(Sequenced, frozen=True, kw_only=True, tag="message_pinned", tag_field="type"):
    """A message is pinned now."""

    message_id: str
    by: str | None


class UnpinMessage(Request, frozen=True, kw_only=True):
    """Unpin a message."""

    wire_types: ClassVar[tuple[str, ...]] = ("unpin_message",)
    group_id: ConversationId
    message_id: MessageId


class MessageUnpinned(Sequenced, frozen=True, kw_only=True, tag="message_unpinned", tag_field="type"):
    """A message is pinned no more."""

    message_id: str
    by: str | None


class GetPinnedMessages(Request, frozen=True, kw_only=True):
    """List what is pinned, the newest pin first."""

    wire_types: ClassVar[tuple[str, ...]] = ("get_pinned_messages",)
    group_id: ConversationId


class PinnedMessages(Frame, frozen=True, kw_only=True, tag="pinned_messages", tag_field="type"):
    """What is pinned in a group, as far as the reader may see it."""

    group_id: str
    messages: list[MessageView]
