"""What a client says before its first frame: its subprotocols and, perhaps, its token.

A token is never read from the URL, where proxies would log it.
"""

from __future__ import annotations

from collections.abc import Sequence

from messaging.gateway.origins import Headers, header

SUBPROTOCOL = "chat.v1"
_BEARER_SUBPROTOCOL = "bearer."
_BEARER_SCHEME = "bearer "


def subprotocol(offered: Sequence[str]) -> str | None:
    """Return the subprotocol to select: ours if it is offered, never one that holds a token."""
    return SUBPROTOCOL if SUBPROTOCOL in offered else None


def token(headers: Headers, offered: Sequence[str]) -> str | None:
    """Return the token of the `Authorization` header or of the subprotocol pair `chat.v1, bearer.<jwt>`."""
    authorization = header(headers, b"authorization")
    if authorization is not None and authorization.lower().startswith(_BEARER_SCHEME):
        return authorization[len(_BEARER_SCHEME) :].strip()
    found = (each[len(_BEARER_SUBPROTOCOL) :] for each in offered if each.startswith(_BEARER_SUBPROTOCOL))
    return next(found, None) if SUBPROTOCOL in offered else None
