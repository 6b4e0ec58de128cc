"""Who is online, one method for each request type."""

from __future__ import annotations

from messaging.delivery.caller import Caller
from messaging.gateway.worker import reading
from messaging.protocol.registry import handles
from presence import services
from presence.schemas import GetOnlineUsers, GetPresence, OnlineUsers, PresenceReply


class PresenceConsumer:
    """Looking at presence; being told of it needs no request."""

    @handles(GetOnlineUsers)
    async def get_online_users(self, caller: Caller, request: GetOnlineUsers) -> OnlineUsers:
        """See who is online."""
        del request
        return await reading(services.online_users, caller.user.key)

    @handles(GetPresence)
    async def get_presence(self, caller: Caller, request: GetPresence) -> PresenceReply:
        """See whether some users are online."""
        return await reading(services.presence_of, caller.user.key, request)
