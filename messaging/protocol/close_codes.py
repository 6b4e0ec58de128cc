"""Why the server closes a connection: one table of codes, reasons and whether to come back.

Source: RFC 6455 section 7.4 for codes below 3000; 4000 and above are this protocol's own.
"""

from __future__ import annotations

from enum import IntEnum

import msgspec
from msgspec import UNSET, UnsetType


class CloseCode(IntEnum):
    """The close codes this server sends with a `goodbye` before them."""

    NORMAL = 1000
    GOING_AWAY = 1001
    RESTARTING = 1012
    OVERLOADED = 1013
    PROTOCOL_VIOLATIONS = 4400
    NOT_AUTHENTICATED = 4401
    SESSION_REVOKED = 4403
    TIMED_OUT = 4408
    REPLACED = 4409
    TOO_SLOW = 4413
    TOO_MANY = 4429


# A client that comes straight back after one of these would be refused again, or (4409) fight its own newer session.
STAY_AWAY = frozenset(
    {CloseCode.PROTOCOL_VIOLATIONS, CloseCode.NOT_AUTHENTICATED, CloseCode.SESSION_REVOKED, CloseCode.REPLACED},
)


class Goodbye(msgspec.Struct, frozen=True, rename="camel", tag="goodbye", tag_field="type"):
    """The last frame before the server closes, since browsers do not see the reason of every close."""

    code: int
    reason: str
    reconnect: bool
    retry_after: float | UnsetType = UNSET  # seconds


def goodbye(code: CloseCode, reason: str, *, retry_after: float | UnsetType = UNSET) -> Goodbye:
    """Return the farewell for a close with `code`."""
    return Goodbye(code=int(code), reason=reason, reconnect=code not in STAY_AWAY, retry_after=retry_after)
