"""Relaying that somebody is typing: at most once a second, and for six seconds at most."""

from __future__ import annotations

import asyncio

from cachetools import TTLCache

from messaging.delivery.caller import Caller
from messaging.delivery.news import ToUsers
from messaging.gateway.worker import Worker, reading
from messaging.protocol.envelope import encode
from messaging.schemas.conversations import Typing, UserTyping
from messaging.services.typing import Audience, typing_audience

INTERVAL_SECONDS = 1.0  # between two relays of "is typing" by one user to one conversation
END_SECONDS = 6.0
REMEMBERED_MAX = 100_000


class TypingRelay:
    """Who is typing where, as far as this worker has heard it."""

    def __init__(self) -> None:
        """Start in silence."""
        # Who said so within the last second, by user and what they named.
        self._recent: TTLCache[tuple[str, str], bool] = TTLCache(REMEMBERED_MAX, INTERVAL_SECONDS)
        self._ends: dict[tuple[str, str], asyncio.TimerHandle] = {}  # by user and conversation

    async def relay(self, caller: Caller, request: Typing) -> None:
        """Tell the others in a conversation, unless they have just been told.

        Raises:
            ChatError: the caller has no place there.

        """
        user_id = caller.user.user_id
        named = (user_id, request.conversation_id or request.group_id or f"to {request.recipient_id}")
        if request.is_typing and named in self._recent:
            return
        audience = await reading(typing_audience, caller.user.key, request)
        if request.is_typing:
            self._recent[named] = True
        if audience is not None:
            self._tell(user_id, audience, is_typing=request.is_typing)

    def _tell(self, user_id: str, audience: Audience, *, is_typing: bool) -> None:
        place = (user_id, audience.conversation_id)
        if (end := self._ends.pop(place, None)) is not None:
            end.cancel()
        if is_typing:
            loop = asyncio.get_running_loop()
            self._ends[place] = loop.call_later(END_SECONDS, self._end, user_id, audience)
        frame = encode(UserTyping(conversation_id=audience.conversation_id, user_id=user_id, is_typing=is_typing))
        Worker.current().publish([ToUsers(audience.user_ids, frame)])

    def _end(self, user_id: str, audience: Audience) -> None:
        if Worker.running() is not None:  # not while the process ends
            self._tell(user_id, audience, is_typing=False)
