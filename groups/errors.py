"""Why the groups app refuses a request, beside what messaging refuses; the docstring is the message."""

from __future__ import annotations

from messaging.protocol.errors import ChatError


class GroupFull(ChatError, code="GROUP_FULL"):
    """This group has as many members as it may have."""


class AlreadyMember(ChatError, code="ALREADY_MEMBER"):
    """They are a member already."""


class OwnerCannotLeave(ChatError, code="OWNER_CANNOT_LEAVE"):
    """The owner has to transfer the group to somebody else, or delete it."""
