"""Blocking and following."""

from __future__ import annotations

from collections.abc import Collection

from django.contrib.auth import get_user_model
from django.contrib.auth.models import AbstractBaseUser
from django.db.models import Q

from messaging.delivery import log
from messaging.delivery.memberships import user_key
from messaging.delivery.news import ToUsers
from messaging.delivery.profiles import UserKey, profile_of
from messaging.delivery.rows import Pair
from messaging.delivery.storage import rows
from messaging.errors import Conflict, NotFound
from messaging.models import Block, Conversation, Follow, Participant
from messaging.protocol.envelope import encode
from messaging.protocol.errors import ValidationFailed
from messaging.schemas.people import BlockedUsers, UserBlockedReply, UserFollowed, UserUnblocked, UserUnfollowed

BLOCKS_MAX = 5_000  # of one user: they are listed as a whole


def access_user(user_id: str, *, caller: UserKey, field: str) -> AbstractBaseUser:
    """Return the active user that a caller names, who must be somebody else.

    Raises:
        ValidationFailed: it is the caller.
        NotFound: there is no such user, or they are inactive.

    """
    key = user_key(user_id)
    if key is not None and key == caller:
        raise ValidationFailed("this cannot be done to oneself", field=field)
    users = get_user_model()._default_manager  # noqa: SLF001 — Django's public name for it
    user = None if key is None else users.filter(pk=key).first()
    if user is None or not user.is_active:
        raise NotFound("there is no such user", field=field)
    return user


def find_users(user_ids: Collection[str]) -> dict[str, UserKey]:
    """Return the keys of those of some users, named as on the wire, who exist and are active; one query."""
    keys = [key for key in map(user_key, user_ids) if key is not None]
    users = get_user_model()._default_manager  # noqa: SLF001 — Django's public name for it
    return {str(user.pk): user.pk for user in users.filter(pk__in=keys) if user.is_active}


def block_user(caller: UserKey, user_id: str, *, client_id: str | None = None) -> UserBlockedReply:
    """Block a user; the caller's other connections are told.

    The pair's conversation is made if need be and locked first: a block and a first message cannot pass each other.

    Raises:
        NotFound: there is no such user.
        Conflict: the caller has blocked as many as they may.

    """
    other = access_user(user_id, caller=caller, field="userId")
    lock_direct_conversation(caller, other.pk)
    blocks = Block.objects.filter(blocker_id=caller)
    if not blocks.filter(blocked_id=other.pk).exists():
        if blocks.count() >= BLOCKS_MAX:
            raise Conflict(f"at most {BLOCKS_MAX} users can be blocked")
        Block.objects.create(blocker_id=caller, blocked_id=other.pk)
    reply = UserBlockedReply(user_id=user_id)
    log.announce(ToUsers([str(caller)], encode(reply), client_id))
    return reply


def unblock_user(caller: UserKey, user_id: str, *, client_id: str | None = None) -> UserUnblocked:
    """Lift the caller's own block, if there is one; it is possible even when the other is gone."""
    Block.objects.filter(blocker_id=caller, blocked_id=_key_of_somebody(user_id)).delete()
    reply = UserUnblocked(user_id=user_id)
    log.announce(ToUsers([str(caller)], encode(reply), client_id))
    return reply


def follow_user(caller: UserKey, user_id: str) -> UserFollowed:
    """Follow a user."""
    other = access_user(user_id, caller=caller, field="userId")
    Follow.objects.get_or_create(follower_id=caller, followed_id=other.pk)
    return UserFollowed(user_id=user_id)


def unfollow_user(caller: UserKey, user_id: str) -> UserUnfollowed:
    """Follow a user no more."""
    Follow.objects.filter(follower_id=caller, followed_id=_key_of_somebody(user_id)).delete()
    return UserUnfollowed(user_id=user_id)


def blocked_users(caller: UserKey) -> BlockedUsers:
    """Return whom the caller has blocked, the first first."""
    found = Block.objects.filter(blocker_id=caller).select_related("blocked").order_by("id")
    return BlockedUsers(users=[profile_of(block.blocked) for block in found])


def is_blocked(one: UserKey, other: UserKey) -> bool:
    """Return whether either has blocked the other."""
    pairs = Block.objects.filter(blocker_id__in=(one, other), blocked_id__in=(one, other))
    return pairs.exists()


def blocked_with(caller: UserKey, others: Collection[UserKey]) -> set[UserKey]:
    """Return those of some users with whom the caller has a block, either way."""
    found = Block.objects.filter(Q(blocker_id=caller, blocked__in=others) | Q(blocked_id=caller, blocker__in=others))
    return {user for pair in found.values_list("blocker_id", "blocked_id") for user in pair} - {caller}


def blocked_pairs(users: Collection[UserKey]) -> set[tuple[UserKey, UserKey]]:
    """Return every pair of some users of whom one has blocked the other, both ways round."""
    found = set(Block.objects.filter(blocker__in=users, blocked__in=users).values_list("blocker_id", "blocked_id"))
    return found | {(blocked, blocker) for blocker, blocked in found}


def peer_of(conversation_id: str, caller: UserKey) -> UserKey | None:
    """Return the other person of a direct conversation, or None once their account is gone."""
    others = Participant.objects.filter(conversation_id=conversation_id).exclude(user_id=caller)
    return others.values_list("user_id", flat=True).first()


def lock_direct_conversation(one: UserKey, other: UserKey) -> Conversation:
    """Return two people's conversation, made if missing, locked until the transaction ends."""
    pair = Pair.of(one, other)
    conversation_id = rows().create_direct([pair])[pair]
    return Conversation.objects.select_for_update(no_key=True).get(pk=conversation_id)


def _key_of_somebody(user_id: str) -> UserKey:
    if (key := user_key(user_id)) is None:
        raise NotFound("there is no such user", field="userId")
    return key
