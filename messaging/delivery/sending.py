"""What becomes of each message of a batch: refused, known already, or appended. Decisions only; no rows, no SQL.

The order of the checks is the order of what a sender may learn: first whether the conversation is theirs, then
whether this very message exists already, then what stands in its way.
"""

from __future__ import annotations

import hmac
import logging
import re
from dataclasses import dataclass, field

from msgspec import UNSET, UnsetType

from messaging.delivery import encryption, rendering
from messaging.delivery.caller import Caller
from messaging.delivery.encryption import FINGERPRINT, Place, Unreadable, keyring
from messaging.delivery.profiles import UserKey
from messaging.delivery.rows import Facts, Known, LockedConversation, NewMention, NewRow, Pair, Peer, Wanted
from messaging.errors import (
    AccessDenied,
    Conflict,
    IdempotencyMismatch,
    InsufficientPermissions,
    MemberMuted,
    NotFound,
    UserBlocked,
)
from messaging.models import Conversation, Message, new_id
from messaging.protocol.errors import ChatError, ValidationFailed
from messaging.schemas.messages import Sent

logger = logging.getLogger(__name__)
NOT_FOLLOWING = "NOT_FOLLOWING"
_NAME = re.compile(r"@([\w.@+-]{1,150})")
EVERYONE = frozenset({"everyone", "all"})


@dataclass(slots=True, eq=False)
class SendCommand:
    """One message to be sent, from its submission to its commit."""

    caller: Caller
    reply_type: type[Sent]
    content: str
    message_id: str = field(default_factory=lambda: str(new_id()))
    recipient: UserKey | None = None  # either a person
    conversation_id: str | None = None  # or a conversation; filled in once the person's is known
    client_message_id: str | None = None
    reply_to_id: str | None = None
    kind: str = Message.Kind.TEXT
    is_for_group: bool | None = None  # None: whatever the conversation is
    is_retry: bool = False  # an earlier try may have been committed
    skips: int = 0  # how often its conversation was locked by somebody else
    names: frozenset[str] = field(init=False)  # that it may mention

    def __post_init__(self) -> None:
        """Find the names in it."""
        self.names = names_in(self.content)

    @property
    def sender(self) -> UserKey:
        """The sender's key."""
        return self.caller.user.key

    @property
    def pair(self) -> Pair:
        """The two people, when it is addressed to a person."""
        return Pair.of(self.sender, self.recipient)

    def want(self, wanted: Wanted) -> None:
        """Add what has to be known for this command; its conversation is known by now."""
        assert self.conversation_id is not None  # noqa: S101 — for the type checker
        wanted.conversation_ids.add(self.conversation_id)
        wanted.senders.add((self.conversation_id, self.sender))
        if self.client_message_id is not None:
            wanted.client_ids.add((self.sender, self.client_message_id))
        if self.is_retry:
            wanted.message_ids.add(self.message_id)
        if self.reply_to_id is not None:
            wanted.quoted_ids.add(self.reply_to_id)
        wanted.names.update((self.conversation_id, name) for name in self.names - EVERYONE)


@dataclass(frozen=True, slots=True)
class Appended:
    """A message that this batch stores."""

    command: SendCommand
    row: NewRow
    conversation: LockedConversation
    quote: rendering.Quote | None
    quote_hidden_for: list[str] | None  # users who deleted the quoted message for themselves
    mentioned: list[UserKey | None]
    peer: Peer | None

    @property
    def mentions(self) -> list[NewMention]:
        """The rows of its mentions."""
        return [NewMention(self.row.conversation_id, self.row.seq, user) for user in self.mentioned]

    @property
    def warning(self) -> str | UnsetType:
        """What the sender should know although the message went through."""
        return NOT_FOLLOWING if self.peer is not None and not self.peer.is_followed else UNSET


@dataclass(frozen=True, slots=True)
class Repeated:
    """A message that is stored already: sent before under this client id, or by an earlier try of this very command."""

    command: SendCommand
    known: Known
    is_duplicate: bool
    peer: Peer | None
    visible_from: int  # the first seq that the sender may see


Outcome = Appended | Repeated | ChatError


def names_in(content: str) -> frozenset[str]:
    """Return the names after an @, with and without the full stop of a sentence behind them."""
    found = _NAME.findall(content) if "@" in content else ()
    return frozenset(name for each in found for name in (each, each.rstrip(".@+-")) if name)


def event_type_of(conversation_kind: str, message_kind: str) -> str:
    """Return the type on the wire of the event that brings a message."""
    if message_kind == Message.Kind.ANNOUNCEMENT:
        return "new_announcement"
    return "new_message" if conversation_kind == Conversation.Kind.DIRECT else "new_group_message"


def decide(command: SendCommand, facts: Facts) -> Outcome:
    """Return what becomes of a command, counting its conversation's last seq on if it is appended."""
    try:
        return _decide(command, facts)
    except ChatError as refusal:
        return refusal


def _decide(command: SendCommand, facts: Facts) -> Outcome:
    conversation = facts.conversations.get(command.conversation_id or "")
    place = (command.conversation_id or "", command.sender)
    if conversation is None or not _is_served(command, conversation):
        raise NotFound
    if place not in facts.members:
        raise AccessDenied if conversation.is_public else NotFound
    if (known := _known(command, facts)) is not None:
        is_duplicate = str(known.row.id) != command.message_id
        return Repeated(command, known, is_duplicate, facts.peers.get(place), facts.members[place].visible_from)
    peer = _check_may_write(command, conversation, facts)
    quote = _quoted(command, facts)
    return _append(command, conversation, facts, quote, peer)


def _is_served(command: SendCommand, conversation: LockedConversation) -> bool:
    is_group = conversation.kind != Conversation.Kind.DIRECT
    is_right_kind = command.is_for_group is None or command.is_for_group == is_group
    return is_right_kind and conversation.state != Conversation.State.DELETED


def _known(command: SendCommand, facts: Facts) -> Known | None:
    if (ours := facts.known_by_id.get(command.message_id)) is not None:
        return ours
    if command.client_message_id is None:
        return None
    known = facts.known_by_client_id.get((command.sender, command.client_message_id))
    if known is not None and not _is_same(command, known):
        raise IdempotencyMismatch
    return known


def _is_same(command: SendCommand, known: Known) -> bool:
    """Return whether a command says what its client id was first used for, whatever became of that message since.

    What cannot be compared any more counts as something else: refusing is safe, a message told twice is not.
    """
    if known.sealed_fingerprint is None:
        return False
    row = known.row
    place = Place(str(row.id), str(row.conversation_id), row.sender_key)
    try:
        first = keyring().open_bytes(row.key_id, bytes(known.sealed_fingerprint), place, FINGERPRINT)
    except Unreadable:
        logger.error("the fingerprint of message %s cannot be decrypted", row.id)  # noqa: TRY400 — no trace
        return False
    return hmac.compare_digest(first, _fingerprint(command))


def _fingerprint(command: SendCommand) -> bytes:
    return encryption.fingerprint(command.conversation_id or "", command.content, command.reply_to_id)


def _check_may_write(command: SendCommand, conversation: LockedConversation, facts: Facts) -> Peer | None:
    """Return the other person of a direct conversation if nothing stands in the way of writing."""
    member = facts.members[conversation.id, command.sender]
    if conversation.state == Conversation.State.FROZEN:
        raise Conflict("this conversation is frozen")
    if conversation.kind == Conversation.Kind.DIRECT:
        return _check_peer(facts.peers.get((conversation.id, command.sender)))
    needs_admin = conversation.posting == Conversation.Posting.ADMINS or command.kind == Message.Kind.ANNOUNCEMENT
    if needs_admin and not member.is_admin:
        raise InsufficientPermissions
    if member.muted_until is not None and member.muted_until > facts.moment:
        raise MemberMuted
    return None


def _check_peer(peer: Peer | None) -> Peer:
    if peer is None or not peer.is_active:
        raise NotFound
    if peer.is_blocked:
        raise UserBlocked
    return peer


def _quoted(command: SendCommand, facts: Facts) -> rendering.Quote | None:
    if command.reply_to_id is None:
        return None
    row = facts.quoted.get(command.reply_to_id)
    visible_from = facts.members[command.conversation_id or "", command.sender].visible_from
    if (
        row is None
        or str(row.conversation_id) != command.conversation_id
        or row.seq < visible_from
        or command.caller.user.user_id in facts.quoted_deleted_by.get(command.reply_to_id, ())
    ):
        raise NotFound("replyToMessageId is no message of this conversation", field="replyToMessageId")
    if row.deleted_at is not None:
        raise Conflict("the message replied to has been deleted", field="replyToMessageId")
    return rendering.quote_of(row, rendering.open_content(row))


def _append(
    command: SendCommand,
    conversation: LockedConversation,
    facts: Facts,
    quote: rendering.Quote | None,
    peer: Peer | None,
) -> Appended:
    conversation.last_seq += 1
    key = keyring().current
    place = Place(command.message_id, conversation.id, str(command.sender))
    has_client_id = command.client_message_id is not None
    row = NewRow(
        message_id=command.message_id,
        conversation_id=conversation.id,
        seq=conversation.last_seq,
        sender=command.sender,
        kind=command.kind,
        key_id=key.id,
        sealed_content=key.seal(command.content.encode(), place),
        sealed_fingerprint=key.seal(_fingerprint(command), place, FINGERPRINT) if has_client_id else None,
        client_message_id=command.client_message_id,
        reply_to_id=command.reply_to_id,
        event_type=event_type_of(conversation.kind, command.kind),
    )
    hidden_for = facts.quoted_deleted_by.get(command.reply_to_id) if command.reply_to_id else None
    return Appended(command, row, conversation, quote, hidden_for, _mentioned(command, conversation, facts), peer)


def _mentioned(command: SendCommand, conversation: LockedConversation, facts: Facts) -> list[UserKey | None]:
    """Return who is mentioned, each once; None stands for everyone, which admins of groups may say."""
    found = {facts.named.get((conversation.id, name)) for name in command.names} - {None}
    mentioned: list[UserKey | None] = sorted(found, key=str)
    is_admin = facts.members[conversation.id, command.sender].is_admin
    return [*mentioned, None] if is_admin and command.names & EVERYONE else mentioned


def check_content(content: str, *, length_max: int) -> str:
    """Return a message's content without the white space around it.

    Raises:
        ValidationFailed: it is empty or too long.

    """
    trimmed = content.strip()
    if not 1 <= len(trimmed) <= length_max:
        raise ValidationFailed(f"content must be 1 to {length_max} characters, it has {len(trimmed)}", field="content")
    return trimmed
