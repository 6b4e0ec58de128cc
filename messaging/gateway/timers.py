"""When a connection has to have authenticated, to have said something, and to have a newer token.

One timer runs at a time, set for the earliest of these moments. Frames only note the time; the timer looks at it when
it fires, so that a busy connection costs no timers.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from django.conf import settings

from messaging.protocol.close_codes import CloseCode

if TYPE_CHECKING:
    from messaging.gateway.connection import Connection

SLEEP_MAX_SECONDS = 86_400.0  # a token may be good for centuries


class Timers:
    """The deadlines of one connection."""

    __slots__ = ("_accepted_at", "_connection", "_handle", "_heard_at", "_loop")

    def __init__(self, connection: Connection) -> None:
        """Start with the accept."""
        self._connection = connection
        self._loop = asyncio.get_running_loop()
        self._accepted_at = self._heard_at = self._loop.time()
        self._handle = self._loop.call_later(settings.AUTH_TIMEOUT, self._fire)

    def heard(self) -> None:
        """Note a frame of the client."""
        self._heard_at = self._loop.time()

    def stop(self) -> None:
        """End them all."""
        self._handle.cancel()

    def reset(self) -> None:
        """Look again at what is due: the token has changed."""
        self._handle.cancel()
        self._fire()

    def _fire(self) -> None:
        if self._connection.is_closing:
            return
        now = self._loop.time()
        token_due_in = self._connection.authentication.check_expiry()
        inactive_in = self._heard_at + settings.CONNECTION_TIMEOUT - now
        auth_in = inactive_in if self._connection.user else self._accepted_at + settings.AUTH_TIMEOUT - now
        if inactive_in <= 0:
            self._connection.close(CloseCode.TIMED_OUT, f"nothing was heard for {settings.CONNECTION_TIMEOUT} s")
        elif auth_in <= 0:
            self._connection.close(CloseCode.TIMED_OUT, f"not authenticated within {settings.AUTH_TIMEOUT} s")
        else:
            due_in = min(token_due_in, inactive_in, auth_in, SLEEP_MAX_SECONDS)
            self._handle = self._loop.call_later(due_in, self._fire)
