"""The requests about the connection itself: who it is, whether it lives, and where its client stands in the logs."""

from __future__ import annotations

from typing import cast

from messaging.delivery.caller import Caller
from messaging.gateway.connection import Connection
from messaging.protocol.registry import handles
from messaging.schemas.sessions import Ack, Connect, Ping, Pong, Sync, Test, TestResponse
from messaging.schemas.wire import wire_now


class SessionConsumer:
    """What is served on every connection, some of it before anybody has authenticated."""

    @handles(Connect, needs_user=False)
    async def connect(self, caller: Caller, request: Connect) -> None:
        """Authenticate, or renew the token; `auth_success` goes out before what was missed."""
        await _connection(caller).authentication.connect(caller, request)

    @handles(Ping, needs_user=False)
    async def ping(self, caller: Caller, request: Ping) -> Pong:
        """Show that somebody is here, and take acknowledgements on the way."""
        if request.cursors and _connection(caller).user is not None:
            _connection(caller).acknowledge(request.cursors)
        return Pong(timestamp=wire_now())

    @handles(Test, needs_user=False)
    async def test(self, caller: Caller, request: Test) -> TestResponse:
        """Show that requests are understood."""
        del caller, request
        return TestResponse(message="The connection works.", timestamp=wire_now())

    @handles(Ack)
    async def ack(self, caller: Caller, request: Ack) -> None:
        """Count what has arrived as delivered; there is no reply."""
        _connection(caller).acknowledge(request.cursors)

    @handles(Sync)
    async def sync(self, caller: Caller, request: Sync) -> None:
        """Deliver everything after the cursors once more; `sync_complete` ends it."""
        await _connection(caller).sync(request.cursors, caller.request_id)


def _connection(caller: Caller) -> Connection:
    return cast("Connection", caller.connection)  # the gateway makes every caller
