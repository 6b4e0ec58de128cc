"""The one gate to groups: who may do what, under the conversation's lock; and the log's entry for what was done."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import msgspec

from groups.models import Group, Membership
from messaging.delivery import log
from messaging.delivery.memberships import user_key
from messaging.delivery.profiles import UserKey
from messaging.errors import AccessDenied, Conflict, InsufficientPermissions, NotFound
from messaging.protocol.errors import ValidationFailed
from messaging.schemas.wire import Sequenced
from messaging.services.memberships import lock_conversation

Role = Membership.Role
RANKS = {Role.MEMBER: 0, Role.ADMIN: 1, Role.OWNER: 2}
MODERATOR_RANK = 3
S = TypeVar("S", bound=Sequenced)


@dataclass(frozen=True, slots=True)
class Access:
    """A group whose conversation is locked until the transaction ends, and who is about to change it."""

    group: Group  # with its locked conversation
    actor: UserKey | None  # None: a moderator
    role: str | None  # the actor's; None: a moderator

    @property
    def group_id(self) -> str:
        """The group's id on the wire."""
        return str(self.group.pk)

    @property
    def actor_id(self) -> str | None:
        """The actor's id on the wire."""
        return None if self.actor is None else str(self.actor)

    @property
    def rank(self) -> int:
        """How high the actor stands."""
        return MODERATOR_RANK if self.role is None else RANKS[Role(self.role)]


def lock_group(group_id: str) -> Group:
    """Return a group, deleted ones too, with its conversation locked until the transaction ends.

    Raises:
        NotFound: there is none.

    """
    conversation = lock_conversation(group_id)
    group = None if conversation is None else Group.objects.filter(conversation_id=group_id).first()
    if group is None or conversation is None:
        raise NotFound
    group.conversation = conversation
    return group


def access_group(
    caller: UserKey | None, group_id: str, *, at_least: str = Role.MEMBER, even_frozen: bool = False
) -> Access:
    """Return a group that the caller may change, locked.

    Args:
        caller: who wants to; None for a moderator.
        group_id: of the group.
        at_least: the role that it takes.
        even_frozen: whether it may be done while a moderator has frozen the group.

    Raises:
        NotFound: there is none, it is deleted, or the caller is no member of it.
        AccessDenied: the caller is no member of this public community.
        InsufficientPermissions: their role is too low.
        Conflict: the group is frozen.

    """
    group = lock_group(group_id)
    if group.deleted_at is not None:
        raise NotFound
    if caller is None:
        return Access(group, None, None)
    access = Access(group, caller, _role_in(group, caller))
    if access.rank < RANKS[Role(at_least)]:
        raise InsufficientPermissions
    if group.conversation.state == group.conversation.State.FROZEN and not even_frozen:
        raise Conflict("this group is frozen")
    return access


def see_group(caller: UserKey, group_id: str) -> Group:
    """Return a group that the caller is in, not locked.

    Raises:
        NotFound: there is none, it is deleted, or the caller is no member of it.
        AccessDenied: the caller is no member of this public community.

    """
    group = Group.objects.select_related("conversation").filter(conversation_id=group_id, deleted_at=None).first()
    if group is None:
        raise NotFound
    _role_in(group, caller)
    return group


def _role_in(group: Group, caller: UserKey) -> str:
    role = Membership.objects.filter(group=group, user_id=caller).values_list("role", flat=True).first()
    if role is None:
        raise AccessDenied if group.conversation.is_public else NotFound
    return role


def access_member(access: Access, user_id: str) -> Membership:
    """Return the membership of somebody else.

    Raises:
        ValidationFailed: it is the actor.
        NotFound: they are no member.

    """
    key = user_key(user_id)
    if key is not None and key == access.actor:
        raise ValidationFailed("this cannot be done to oneself", field="userId")
    member = None if key is None else Membership.objects.filter(group=access.group, user_id=key).first()
    if member is None:
        raise NotFound("there is no such member", field="userId")
    return member


def check_outranks(access: Access, member: Membership) -> None:
    """Check that the actor stands above a member.

    Raises:
        InsufficientPermissions: they do not.

    """
    if access.rank <= RANKS[Role(member.role)]:
        raise InsufficientPermissions


def record(
    access: Access,
    reply: S,
    *,
    message: log.Subject | None = None,
    people: log.People | None = None,
    joined: Sequence[UserKey] = (),
    left: Sequence[UserKey] = (),
) -> S:
    """Append the event that a reply tells of, and return the reply with its place in the log.

    Args:
        access: whose change it is.
        reply: what the event says, as the others get it.
        message: what it is about, if it is about one.
        people: users in it who are shown by their profiles, whenever it is read.
        joined: users whose membership begins with it.
        left: users whose membership ends with it.

    """
    wire = msgspec.to_builtins(reply)
    shown = people.name if people is not None else None
    event = log.append(
        access.group.conversation,
        wire["type"],
        actor=access.actor,
        message=message,
        wire={key: value for key, value in wire.items() if key not in {"type", "conversationId", "groupId", shown}},
        people=people,
        joined=joined,
        left=left,
    )
    return msgspec.structs.replace(reply, seq=event.seq, timestamp=event.timestamp)
