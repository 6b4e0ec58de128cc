"""The doors by which the groups app changes conversations: who is in them, what they may do there, and their end.

But for `open_conversation` and `lock_conversation` every function must be called in a transaction that has locked the
conversation, and takes effect at the event that was appended last.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection
from typing import Literal
from uuid import UUID

from django.db.models.functions import Now

from messaging.delivery.profiles import UserKey
from messaging.models import Conversation, Event, Interval, Mention, Message, MessageDeletion, Participant, Reaction

NEVER = dt.datetime(9999, 12, 31, tzinfo=dt.UTC)  # when a mute without an end is over


def open_conversation(*, kind: Literal["group", "community"], posting: str, is_public: bool) -> Conversation:
    """Make an empty conversation for a group; nobody else knows it before the commit."""
    return Conversation.objects.create(kind=kind, posting=posting, is_public=is_public)


def lock_conversation(conversation_id: str) -> Conversation | None:
    """Return a conversation, locked until the transaction ends, or None if there is none."""
    return Conversation.objects.select_for_update(no_key=True).filter(pk=conversation_id).first()


def join(conversation: Conversation, users: Collection[UserKey], *, admins: Collection[UserKey] = ()) -> None:
    """Begin the membership of some users with the last event.

    Who was here before keeps their delivered position, since the end of the earlier stretch may still wait for them,
    and their mute: leaving does not lift it.
    """
    seq = conversation.last_seq
    found = Participant.objects.select_for_update(no_key=True).filter(conversation=conversation, user_id__in=users)
    known = {user: key for key, user in found.order_by("pk").values_list("pk", "user_id")}
    if known:
        Participant.objects.filter(pk__in=known.values()).update(read_seq=seq, changed_at=Now())
    new = Participant.objects.bulk_create(
        Participant(
            conversation=conversation, user_id=user, is_admin=user in admins, delivered_seq=seq - 1, read_seq=seq
        )
        for user in users
        if user not in known
    )
    Interval.objects.bulk_create(
        Interval(participant_id=key, from_seq=seq) for key in (*known.values(), *(each.pk for each in new))
    )


def leave(conversation: Conversation, user: UserKey) -> None:
    """End a user's membership with the last event, which they still get."""
    participants = Participant.objects.filter(conversation=conversation, user_id=user)
    Interval.objects.filter(participant__in=participants, to_seq=None).update(to_seq=conversation.last_seq)
    participants.update(is_admin=False, changed_at=Now())


def set_admin(conversation: Conversation, user: UserKey, *, is_admin: bool) -> None:
    """Let a member write and delete as an admin, or no more."""
    Participant.objects.filter(conversation=conversation, user_id=user).update(is_admin=is_admin)


def set_posting(conversation: Conversation, posting: str) -> None:
    """Let everyone write, or only admins."""
    conversation.posting = posting
    conversation.save(update_fields=("posting",))


def set_frozen(conversation: Conversation, *, is_frozen: bool) -> bool:
    """Let a conversation take nothing new, or thaw it; return whether that is a change."""
    state = Conversation.State.FROZEN if is_frozen else Conversation.State.OPEN
    if conversation.state == state:
        return False
    conversation.state = state
    conversation.save(update_fields=("state",))
    return True


def set_deleted(conversation: Conversation, *, is_deleted: bool) -> None:
    """Hide a conversation from everybody, or show it again."""
    conversation.state = Conversation.State.DELETED if is_deleted else Conversation.State.OPEN
    conversation.save(update_fields=("state",))


def muted_until(conversation: Conversation, user: UserKey) -> dt.datetime | None:
    """Return until when a member may not write, `NEVER` if it has no end, or None if they may now."""
    return mutes([(conversation.pk, user)]).get((conversation.pk, user))


def mutes(members: Collection[tuple[UUID, UserKey]]) -> dict[tuple[UUID, UserKey], dt.datetime]:
    """Return until when some members (conversation, user) may not write; who may now is left out; one query."""
    conversations, users = {conversation for conversation, _ in members}, {user for _, user in members}
    muted = Participant.objects.filter(
        conversation_id__in=conversations, user_id__in=users, muted_until__gt=Now()
    ).values_list("conversation_id", "user_id", "muted_until")
    return {(conversation, user): until for conversation, user, until in muted if until is not None}


def mute(conversation: Conversation, user: UserKey, *, until: dt.datetime | None) -> None:
    """Keep a member from writing until a moment; None lets them write again."""
    Participant.objects.filter(conversation=conversation, user_id=user).update(muted_until=until)


def muted_among(conversation_id: str, users: Collection[UserKey]) -> set[UserKey]:
    """Return those of some users who may not write in a conversation now; it need not be locked."""
    muted = Participant.objects.filter(conversation_id=conversation_id, user_id__in=users, muted_until__gt=Now())
    return set(muted.values_list("user_id", flat=True))


def purge(conversation: Conversation) -> None:
    """Remove everything that was said, and every event but the last, which still reaches who was away.

    Participants and their stretches stay until that event has been kept for its time.
    """
    messages = Message.objects.filter(conversation=conversation)
    for dependent in (Reaction, MessageDeletion):
        dependent._default_manager.filter(message__in=messages).delete()  # noqa: SLF001 — Django's public name for it
    Mention.objects.filter(conversation=conversation).delete()
    Event.objects.filter(conversation=conversation, seq__lt=conversation.last_seq).delete()
    # All replies go with what they answer: no need to look for each one's, as a cascade would.
    messages._raw_delete(messages.db)  # noqa: SLF001
