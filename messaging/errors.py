"""Why messaging refuses a request; the docstring is the message, and nothing tells a stranger what exists."""

from __future__ import annotations

from messaging.protocol.errors import ChatError


class NotFound(ChatError, code="NOT_FOUND"):
    """There is nothing here under this id."""


class AccessDenied(ChatError, code="ACCESS_DENIED"):
    """Join this community first."""


class InsufficientPermissions(ChatError, code="INSUFFICIENT_PERMISSIONS"):
    """Your role does not allow this."""


class UserBlocked(ChatError, code="USER_BLOCKED"):
    """One of you has blocked the other."""


class EditWindowExpired(ChatError, code="EDIT_WINDOW_EXPIRED"):
    """It is too late to edit this message."""


class MemberMuted(ChatError, code="MEMBER_MUTED"):
    """You are muted in this group."""


class Conflict(ChatError, code="CONFLICT"):
    """The present state forbids this."""


class IdempotencyMismatch(ChatError, code="IDEMPOTENCY_MISMATCH"):
    """This clientMessageId was first sent with another content, conversation or reply target."""
