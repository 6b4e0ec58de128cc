"""Whose presence somebody is told: those who share a direct conversation or a group with them, or whom they follow."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from django.db.models import F, Q, QuerySet

from messaging.delivery.profiles import UserKey
from messaging.models import Block, Conversation, Follow, Participant

INTIMATE = (Conversation.Kind.DIRECT, Conversation.Kind.GROUP)  # communities make no contacts


def contacts_of(caller: UserKey) -> Q:
    """Return the condition, on a table with a `user`, that the caller is told of that user's presence."""
    ours = _members().filter(user_id=caller).values("conversation_id")
    theirs = _members().filter(conversation_id__in=ours).values("user_id")
    followed = Follow.objects.filter(follower_id=caller).values("followed_id")
    # One set, found first: with an OR of two, everybody's rows would be compared with them.
    return Q(user_id__in=theirs.union(followed))


def not_blocked_with(caller: UserKey) -> Q:
    """Return the condition, on a table with a `user`, that it is somebody else and neither has blocked the other."""
    blocked = Block.objects.filter(blocker_id=caller).values("blocked_id")
    blocking = Block.objects.filter(blocked_id=caller).values("blocker_id")
    return ~(Q(user_id=caller) | Q(user_id__in=blocked) | Q(user_id__in=blocking))


def viewers_of(
    subjects: Collection[UserKey], viewers: Collection[UserKey], *, everyone: bool
) -> dict[UserKey, set[UserKey]]:
    """Return for each of some users those of others who are told of their presence; three queries, however many.

    Args:
        subjects: whose presence.
        viewers: who may be told.
        everyone: whether all are told but those with a block.

    """
    pairs = {(one, other) for one in subjects for other in viewers} if everyone else _pairs(subjects, viewers)
    blocks = Block.objects.filter(
        Q(blocker_id__in=subjects, blocked_id__in=viewers) | Q(blocked_id__in=subjects, blocker_id__in=viewers)
    )
    for blocker, blocked in blocks.values_list("blocker_id", "blocked_id"):
        pairs -= {(blocker, blocked), (blocked, blocker)}
    found: dict[UserKey, set[UserKey]] = {}
    for subject, viewer in pairs:
        if subject != viewer:
            found.setdefault(subject, set()).add(viewer)
    return found


def _pairs(subjects: Collection[UserKey], viewers: Collection[UserKey]) -> set[tuple[UserKey, UserKey]]:
    together = _members().filter(
        user_id__in=subjects,
        conversation__participants__user_id__in=viewers,
        conversation__participants__intervals__to_seq=None,
        conversation__participants__intervals__from_seq__gte=0,
    )
    sharing = together.values_list("user_id", F("conversation__participants__user_id")).distinct()
    following = Follow.objects.filter(followed_id__in=subjects, follower_id__in=viewers)
    return {*sharing, *following.values_list("followed_id", "follower_id")}


def _members() -> QuerySet[Participant, Any]:
    """Return the present members of direct conversations and groups."""
    return Participant.objects.filter(
        conversation__kind__in=INTIMATE,
        intervals__to_seq=None,
        intervals__from_seq__gte=0,  # an inner join: without an interval there is no membership
    ).exclude(conversation__state=Conversation.State.DELETED)
