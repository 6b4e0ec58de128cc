"""Loading a page of messages, counting all of them at the same time when asked to."""

from __future__ import annotations

import asyncio

import msgspec

from messaging.delivery.caller import Caller
from messaging.gateway.worker import reading
from messaging.schemas.messages import GetMessages, Messages
from messaging.services.conversations import count_messages, get_messages


async def load_page(caller: Caller, request: GetMessages) -> Messages:
    """Return a page of messages, with the total if it is asked for: counted beside it, on a thread of its own.

    Raises:
        ChatError: what `get_messages` raises.

    """
    page = reading(get_messages, caller.user.key, request)
    if not request.include_total:
        return await page
    messages, total = await asyncio.gather(page, reading(count_messages, caller.user.key, request))
    return msgspec.structs.replace(messages, total=total)
