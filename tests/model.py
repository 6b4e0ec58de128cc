"""What an honest client makes of the frames it gets: applied in order to nothing, they must give what a fetch shows."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from tests.client import Frame

Message = dict[str, Any]  # a message object of the protocol
_BROUGHT = {"new_message", "new_group_message", "new_announcement"}
_SENT = {"message_sent", "group_message_sent", "announcement_sent"}


@dataclass
class Conversation:
    """One conversation as far as a device knows it."""

    last_seq: int = 0
    joined_seq: int = 0  # of the event by which its user came in for the last time; 0 in direct ones
    is_member: bool = True
    is_deleted: bool = False  # a group that waits for being restored
    messages: dict[str, Message] = field(default_factory=dict)
    reactions: dict[str, list[tuple[str, str]]] = field(default_factory=dict)  # (emoji, user) by message, in order
    roles: dict[str, str] = field(default_factory=dict)  # by user id; complete for who saw the group's beginning
    group: dict[str, Any] = field(default_factory=dict)

    def visible(self) -> list[Message]:
        """Return the messages that a fetch shows, with their reactions, in order."""
        shown = [self._view(each) for each in self.messages.values() if each["seq"] > self.joined_seq]
        return sorted(shown, key=lambda message: int(message["seq"]))

    def _view(self, message: Message) -> Message:
        users: dict[str, list[str]] = {}
        for emoji, user in self.reactions.get(message["messageId"], []):
            users.setdefault(emoji, []).append(user)
        counted = [{"emoji": emoji, "count": len(ids), "userIds": ids} for emoji, ids in users.items()]
        return message | {"reactions": counted}


class Model:
    """One device of a user."""

    def __init__(self, user_id: str) -> None:
        """Know nothing."""
        self.user_id = user_id
        self.conversations: dict[str, Conversation] = {}
        self.problems: list[str] = []  # holes and repetitions

    def cursors(self) -> dict[str, int]:
        """Return where the device is in each conversation, to resume from."""
        return {key: each.last_seq for key, each in self.conversations.items()}

    def apply(self, frame: Frame) -> None:
        """Take in one frame."""
        kind, key = frame["type"], frame.get("conversationId", "")
        if kind in {"error", "messages", "conversation_started"} or not key:
            return
        if frame.get("duplicate"):
            return  # it confirms what came as an event, or was cleared away since
        if "seq" in frame:
            self._advance(frame)
        conversation = self.conversations.get(key)
        if conversation is None:
            return
        handler = getattr(self, f"_{kind}", None)
        if kind in _BROUGHT | _SENT:
            self._brought(conversation, frame["message"])
        elif handler is not None:
            handler(conversation, frame)

    def _advance(self, frame: Frame) -> None:
        """Check that events come in order, each once, without holes but those between two memberships."""
        conversation = self.conversations.setdefault(frame["conversationId"], Conversation())
        is_joining = self._joins(frame)
        if is_joining:
            conversation.joined_seq, conversation.is_member = frame["seq"], True
        expected = conversation.last_seq + 1
        if frame["seq"] != expected and not (is_joining and frame["seq"] > expected):
            self.problems.append(f"{frame['type']} has seq {frame['seq']}, expected {expected}")
        conversation.last_seq = frame["seq"]

    def _joins(self, frame: Frame) -> bool:
        came = frame.get("members", []) if frame["type"] in {"group_created", "member_added"} else []
        return any(member["userId"] == self.user_id for member in came)

    # Messages.

    def _brought(self, conversation: Conversation, message: Message) -> None:
        conversation.messages[message["messageId"]] = message
        if message["isDeleted"]:
            conversation.reactions.pop(message["messageId"], None)

    def _message_edited(self, conversation: Conversation, frame: Frame) -> None:
        message = conversation.messages.get(frame["messageId"])
        if message is None or message["isDeleted"]:
            return
        changed = {name: frame[name] for name in ("content", "editedAt", "mentions")}
        conversation.messages[frame["messageId"]] = message | changed | {"isEdited": True}
        for quoting in self._quoting(conversation, frame["messageId"]):
            if "excerpt" in quoting["replyTo"]:
                quoting["replyTo"]["excerpt"] = (frame["content"] or "")[:100]

    def _message_deleted(self, conversation: Conversation, frame: Frame) -> None:
        message = conversation.messages.get(frame["messageId"])
        for quoting in self._quoting(conversation, frame["messageId"]):
            quoting["replyTo"].pop("excerpt", None)
        if message is None:
            return
        conversation.reactions.pop(frame["messageId"], None)
        if frame["forEveryone"]:
            gone: dict[str, Any] = {"content": None, "isDeleted": True, "mentions": [], "isPinned": False}
            conversation.messages[frame["messageId"]] = message | gone
        else:
            del conversation.messages[frame["messageId"]]

    @staticmethod
    def _quoting(conversation: Conversation, message_id: str) -> list[Message]:
        replies = [each for each in conversation.messages.values() if each["replyTo"] is not None]
        return [each for each in replies if each["replyTo"]["messageId"] == message_id]

    def _reaction_added(self, conversation: Conversation, frame: Frame) -> None:
        message = conversation.messages.get(frame["messageId"])
        chosen = conversation.reactions.setdefault(frame["messageId"], [])
        choice = (frame["emoji"], frame["userId"])
        if message is not None and not message["isDeleted"] and choice not in chosen:
            chosen.append(choice)

    def _reaction_removed(self, conversation: Conversation, frame: Frame) -> None:
        chosen = conversation.reactions.get(frame["messageId"], [])
        if (choice := (frame["emoji"], frame["userId"])) in chosen:
            chosen.remove(choice)

    def _message_pinned(self, conversation: Conversation, frame: Frame) -> None:
        self._pin(conversation, frame, is_pinned=True)

    def _message_unpinned(self, conversation: Conversation, frame: Frame) -> None:
        self._pin(conversation, frame, is_pinned=False)

    @staticmethod
    def _pin(conversation: Conversation, frame: Frame, *, is_pinned: bool) -> None:
        message = conversation.messages.get(frame["messageId"])
        if message is not None and not message["isDeleted"]:
            conversation.messages[frame["messageId"]] = message | {"isPinned": is_pinned}

    def _conversation_deleted(self, conversation: Conversation, frame: Frame) -> None:
        del frame
        conversation.messages.clear()
        conversation.reactions.clear()

    # Groups.

    def _group_created(self, conversation: Conversation, frame: Frame) -> None:
        conversation.group = {name: value for name, value in frame["group"].items() if name != "role"}
        self._member_added(conversation, frame)

    def _group_info_updated(self, conversation: Conversation, frame: Frame) -> None:
        conversation.group.update(frame["changes"])

    def _member_added(self, conversation: Conversation, frame: Frame) -> None:
        conversation.roles.update({member["userId"]: member["role"] for member in frame["members"]})

    def _member_left(self, conversation: Conversation, frame: Frame) -> None:
        conversation.roles.pop(frame["userId"], None)
        if frame["userId"] == self.user_id:
            conversation.is_member = False

    _member_removed = _member_left

    def _member_promoted(self, conversation: Conversation, frame: Frame) -> None:
        conversation.roles[frame["userId"]] = frame["role"]

    _member_demoted = _member_promoted

    def _ownership_transferred(self, conversation: Conversation, frame: Frame) -> None:
        conversation.roles.update({frame["from"]: "admin", frame["to"]: "owner"})
        conversation.group["ownerId"] = frame["to"]

    def _group_deleted(self, conversation: Conversation, frame: Frame) -> None:
        del frame
        conversation.is_deleted = True

    def _group_restored(self, conversation: Conversation, frame: Frame) -> None:
        del frame
        conversation.is_deleted = False
