"""What people do to messages that are there: editing and deleting them."""

from __future__ import annotations

import datetime as dt
from typing import NamedTuple

from django.conf import settings
from django.contrib.auth import get_user_model
from msgspec import UnsetType

from messaging.delivery import log, rendering
from messaging.delivery.encryption import FINGERPRINT, Place as SealedPlace, Unreadable, keyring
from messaging.delivery.news import ToUsers
from messaging.delivery.profiles import UserKey, profiles_of
from messaging.delivery.sending import EVERYONE, check_content, names_in
from messaging.errors import (
    AccessDenied,
    Conflict,
    EditWindowExpired,
    InsufficientPermissions,
    MemberMuted,
    NotFound,
    UserBlocked,
)
from messaging.models import Conversation, Mention, Message, MessageDeletion, Participant, Reaction
from messaging.protocol.envelope import encode
from messaging.schemas.messages import MessageDeleted, MessageEdited
from messaging.schemas.wire import wire_time
from messaging.services.people import is_blocked, peer_of
from messaging.services.places import Place, access_conversation


class Access(NamedTuple):
    """A message that a caller may see now, and where it stands."""

    conversation: Conversation  # locked until the transaction ends
    message: Message
    place: Place  # of the caller

    @property
    def group_id(self) -> str | UnsetType:
        """The `groupId` of frames about it."""
        return rendering.group_id_of(self.place.conversation_id, self.conversation.kind)


def access_message_unlocked(caller: UserKey, message_id: str) -> tuple[Message, Place]:
    """Return a message that the caller may see, and the caller's place in its conversation, which is not locked.

    Raises:
        NotFound: there is none, or it is not the caller's to see, as for `access_message`.

    """
    message = Message.objects.filter(pk=message_id).first()
    if message is None:
        raise NotFound
    try:
        place = access_conversation(caller, str(message.conversation_id))
    except AccessDenied as error:
        raise NotFound from error  # a public community may be seen by strangers, its messages may not
    is_hidden = MessageDeletion.objects.filter(message=message, user_id=caller).exists()
    if message.seq < place.visible_from or is_hidden:
        raise NotFound
    return message, place


def access_message(caller: UserKey, message_id: str) -> Access:
    """Return a message that the caller may see, its conversation locked.

    Raises:
        NotFound: there is none, or it is not the caller's to see: never was, cleared, or deleted for themselves; all
            in the same words.

    """
    conversation_id = Message.objects.filter(pk=message_id).values_list("conversation_id", flat=True).first()
    if conversation_id is None:
        raise NotFound
    conversation = Conversation.objects.select_for_update(no_key=True).get(pk=conversation_id)
    # Read again: what another transaction did to it has been committed now.
    message, place = access_message_unlocked(caller, message_id)
    return Access(conversation, message, place)


def check_live(access: Access, caller: UserKey) -> None:
    """Check that something that reaches the others may be done to a message.

    Raises:
        Conflict: it is deleted, or the conversation is frozen.
        UserBlocked: it is in a direct conversation, and one of the two has blocked the other.

    """
    if access.message.deleted_at is not None:
        raise Conflict("the message has been deleted")
    if access.conversation.state == Conversation.State.FROZEN:
        raise Conflict("this conversation is frozen")
    if access.conversation.kind == Conversation.Kind.DIRECT:
        other = peer_of(access.place.conversation_id, caller)
        if other is not None and is_blocked(caller, other):
            raise UserBlocked


def edit_message(caller: UserKey, message_id: str, *, content: str) -> MessageEdited:
    """Replace the text of the caller's own message, sealed anew, and whom it mentions.

    Raises:
        NotFound: there is no such message for the caller.
        InsufficientPermissions: it is somebody else's.
        EditWindowExpired: it is too old.
        MemberMuted: the caller is muted in the group.

    """
    text = check_content(content, length_max=settings.MAX_MESSAGE_LENGTH)
    access = access_message(caller, message_id)
    conversation, message, place = access
    if message.sender_id != caller:
        raise InsufficientPermissions("only its author may edit a message")
    check_live(access, caller)
    moment = log.now()
    if moment - message.created_at > dt.timedelta(seconds=settings.EDIT_WINDOW):
        raise EditWindowExpired
    if Participant.objects.filter(pk=place.participant_id, muted_until__gt=moment).exists():
        raise MemberMuted
    _seal(message, text)
    message.edited_at = moment
    message.save(update_fields=("key_id", "sealed_content", "sealed_fingerprint", "edited_at"))
    mentioned = _replace_mentions(message, text, may_name_everyone=place.is_admin)
    event = log.append(conversation, "message_edited", actor=caller, message=message)
    people = profiles_of(user for user in mentioned if user is not None)
    return MessageEdited(
        conversation_id=place.conversation_id,
        group_id=access.group_id,
        seq=event.seq,
        timestamp=event.timestamp,
        message_id=message_id,
        content=text,
        edited_at=wire_time(moment),
        mentions=[rendering.mention_of(None if user is None else people[user]) for user in mentioned],
    )


def delete_for_self(caller: UserKey, message_id: str, *, client_id: str | None = None) -> MessageDeleted:
    """Hide a message from the caller alone; their other connections are told.

    Raises:
        NotFound: there is no such message for the caller, or no longer.

    """
    access = access_message(caller, message_id)
    MessageDeletion.objects.create(message=access.message, user_id=caller)
    reply = MessageDeleted(
        conversation_id=access.place.conversation_id,
        group_id=access.group_id,
        message_id=message_id,
        for_everyone=False,
    )
    log.announce(ToUsers([str(caller)], encode(reply), client_id))
    return reply


def delete_for_everyone(caller: UserKey, message_id: str) -> MessageDeleted:
    """Leave a tombstone of a message: its place and its fingerprint, without text, mentions and reactions.

    Raises:
        NotFound: there is no such message for the caller.
        InsufficientPermissions: it is somebody else's, and the caller is no admin of the group.
        Conflict: it is deleted already.

    """
    access = access_message(caller, message_id)
    conversation, message, place = access
    is_admin = conversation.kind != Conversation.Kind.DIRECT and place.is_admin
    if message.sender_id != caller and not is_admin:
        raise InsufficientPermissions("only its author, or an admin of the group, may delete a message for everyone")
    if message.deleted_at is not None:
        raise Conflict("the message has been deleted")
    event = _entomb(conversation, message, actor=caller)
    return MessageDeleted(
        conversation_id=place.conversation_id,
        group_id=access.group_id,
        seq=event.seq,
        timestamp=event.timestamp,
        message_id=message_id,
        for_everyone=True,
    )


def remove_message(message_id: str) -> None:
    """Leave a tombstone of any message, as a moderator of the service.

    Raises:
        NotFound: there is no such message.
        Conflict: it is deleted already.

    """
    conversation_id = Message.objects.filter(pk=message_id).values_list("conversation_id", flat=True).first()
    if conversation_id is None:
        raise NotFound
    conversation = Conversation.objects.select_for_update(no_key=True).get(pk=conversation_id)
    message = Message.objects.get(pk=message_id)
    if message.deleted_at is not None:
        raise Conflict("the message has been deleted")
    _entomb(conversation, message, actor=None)


def _entomb(conversation: Conversation, message: Message, *, actor: UserKey | None) -> log.Appended:
    """Take from a message all but its place and its fingerprint."""
    Mention.objects.filter(conversation=conversation, seq=message.seq).delete()
    Reaction.objects.filter(message=message).delete()
    message.sealed_content, message.pinned_at, message.deleted_at = None, None, log.now()
    message.save(update_fields=("sealed_content", "pinned_at", "deleted_at"))
    wire = {"messageId": str(message.pk), "forEveryone": True}
    return log.append(conversation, "message_deleted", actor=actor, message=message, wire=wire)


def _seal(message: Message, text: str) -> None:
    """Seal a message's text under the current key, and its fingerprint with it: a row names one key for both."""
    keys = keyring()
    key = keys.current
    place = SealedPlace(str(message.pk), str(message.conversation_id), message.sender_key)
    message.sealed_content = key.seal(text.encode(), place)
    if message.sealed_fingerprint is not None and message.key_id != key.id:
        try:
            first = keys.open_bytes(message.key_id, bytes(message.sealed_fingerprint), place, FINGERPRINT)
        except Unreadable:
            pass  # it was unreadable before, and stays so
        else:
            message.sealed_fingerprint = key.seal(first, place, FINGERPRINT)
    message.key_id = key.id


def _replace_mentions(message: Message, text: str, *, may_name_everyone: bool) -> list[UserKey | None]:
    """Store whom an edited text mentions, and return them in the order of the rows; None stands for everyone."""
    Mention.objects.filter(conversation_id=message.conversation_id, seq=message.seq).delete()
    names = names_in(text)
    mentioned = _members_named(str(message.conversation_id), names - EVERYONE)
    if may_name_everyone and names & EVERYONE:
        mentioned.append(None)
    Mention.objects.bulk_create(
        Mention(conversation_id=message.conversation_id, seq=message.seq, user_id=user) for user in mentioned
    )
    return mentioned


def _members_named(conversation_id: str, names: frozenset[str]) -> list[UserKey | None]:
    if not names:
        return []
    found = Participant.objects.filter(
        conversation_id=conversation_id,
        intervals__to_seq=None,
        intervals__from_seq__gte=0,  # an inner join: without an interval there is no membership
        **{f"user__{get_user_model().USERNAME_FIELD}__in": names},
    )
    return sorted(found.values_list("user_id", flat=True), key=str)
