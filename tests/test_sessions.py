"""Who is behind a connection: tokens of every kind, renewal, deadlines, revocation, and a polite end."""

import time
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from django.utils import timezone
from rest_framework_simplejwt.token_blacklist.models import BlacklistedToken, OutstandingToken
from websockets.exceptions import InvalidStatus

from tests.cast import Cast
from tests.client import ChatClient
from tests.database import in_database
from tests.server import LiveServer


def revoke(jti: str) -> None:
    """Write a token into the blacklist, as another process would."""
    token = OutstandingToken.objects.create(jti=jti, token="", expires_at=timezone.now())
    BlacklistedToken.objects.create(token=token)


async def test_the_welcome_says_what_to_do(server: LiveServer, cast: Cast) -> None:
    """The first frame greets; `connect` by any of its names lets the user in."""
    for name in ("connect", "authenticate", "auth"):
        async with ChatClient(server.url) as client:
            welcome = await client.next(type="connected")
            assert (welcome["requiresAuth"], welcome["protocolVersion"], welcome["heartbeatInterval"]) == (True, 1, 30)
            reply = await client.ask(name, token=cast.ann.token)
            assert (reply["type"], reply["userId"], reply["username"]) == ("auth_success", cast.ann.id, cast.ann.name)
            assert (await client.next(type="sync_complete"))["incomplete"] == []


def bad_tokens(cast: Cast) -> dict[str, str]:
    """Return a token for each reason to refuse one."""
    jti = uuid.uuid4().hex
    revoke(jti)
    cast.bob.user.is_active = False
    cast.bob.user.save()
    return {
        "TOKEN_INVALID": cast.ann.token + "x",
        "TOKEN_EXPIRED": cast.ann.new_token(exp=int(time.time()) - 5),
        "TOKEN_REVOKED": cast.ann.new_token(jti=jti),
        "USER_INACTIVE": cast.bob.token,
        "USER_NOT_FOUND": cast.ann.new_token(sub="999999999"),
    }


async def test_every_bad_token_has_its_code(server: LiveServer, cast: Cast) -> None:
    """A refused token is answered with why, and a good one still works afterwards."""
    for code, token in (await in_database(lambda: bad_tokens(cast))).items():
        async with ChatClient(server.url) as client:
            reply = await client.ask("connect", token=token)
            assert (reply["type"], reply["code"]) == ("auth_error", code)
            assert (await client.ask("connect", token=cast.ann.token))["type"] == "auth_success"


async def test_the_third_failure_is_the_last(server: LiveServer) -> None:
    """Three failed attempts end the connection with 4401, and a goodbye that says not to come back like this."""
    async with ChatClient(server.url) as client:
        for _ in range(3):
            assert (await client.ask("connect", token="no"))["type"] == "auth_error"
        goodbye = await client.next(type="goodbye")
        assert (goodbye["code"], goodbye["reconnect"]) == (4401, False)
        assert await client.closed() == 4401


@pytest.mark.parametrize("way", ["header", "subprotocol"])
async def test_a_token_may_come_with_the_handshake(server: LiveServer, cast: Cast, way: str) -> None:
    """A good token of the handshake makes `connect` need none; a bad one counts as a failed attempt."""

    def handshake(token: str) -> dict[str, Any]:
        if way == "header":
            return {"headers": {"Authorization": f"Bearer {token}"}}
        return {"subprotocols": ["chat.v1", f"bearer.{token}"]}

    async with ChatClient(server.url, **handshake(cast.ann.token)) as client:
        assert (await client.next(type="connected"))["requiresAuth"] is False
        assert (await client.ask("get_blocked_users"))["code"] == "AUTH_REQUIRED"
        assert (await client.ask("connect"))["userId"] == cast.ann.id
    async with ChatClient(server.url, **handshake("no")) as client:
        assert (await client.next(type="connected"))["requiresAuth"] is True
        assert (await client.next(type="auth_error"))["code"] == "TOKEN_INVALID"
        assert (await client.ask("connect"))["field"] == "token"


async def test_a_token_is_renewed_by_its_user_only(server: LiveServer, cast: Cast) -> None:
    """A further `connect` replaces the token; another user's is a conflict and changes nothing."""
    async with ChatClient(server.url, cast.ann.token) as ann:
        await ann.connect()
        assert (await ann.ask("connect", token=cast.bob.token))["code"] == "CONFLICT"
        assert (await ann.ask("connect", token="no"))["code"] == "TOKEN_INVALID"
        assert (await ann.ask("connect", token=cast.ann.new_token()))["type"] == "auth_success"
        await ann.quiet()
        assert (await ann.ask("connect", token=cast.ann.new_token(), resume={}))["type"] == "auth_success"
        assert (await ann.next(type="sync_complete"))["delivered"] == 0


async def test_an_old_token_warns_and_ends(server: LiveServer, cast: Cast) -> None:
    """A token near its end is announced, and at its end the connection closes with 4401."""
    async with ChatClient(server.url, cast.ann.new_token(exp=int(time.time()) + 2)) as ann:
        await ann.connect()
        await ann.next(type="token_expiring")
        assert (await ann.next(type="goodbye"))["code"] == 4401
        assert await ann.closed() == 4401


async def test_deadlines_close_with_4408(start_server: Callable[..., LiveServer], cast: Cast) -> None:
    """Who does not authenticate in time, or says nothing for too long, is told so and closed."""
    server = start_server(AUTH_TIMEOUT=1, CONNECTION_TIMEOUT=2)
    async with ChatClient(server.url) as stranger, ChatClient(server.url, cast.ann.token) as ann:
        await ann.connect()
        assert (await stranger.next(type="goodbye"))["code"] == 4408
        assert await stranger.closed() == 4408
        assert (await ann.next(type="goodbye"))["code"] == 4408
        assert await ann.closed() == 4408


@pytest.mark.parametrize("how", ["token", "user"])
async def test_revocation_reaches_live_sessions(server: LiveServer, cast: Cast, how: str) -> None:
    """A session whose token is revoked or whose user is deactivated elsewhere is told and closed with 4403."""
    jti = uuid.uuid4().hex
    async with ChatClient(server.url, cast.ann.new_token(jti=jti)) as ann:
        await ann.connect()
        if how == "token":
            await in_database(lambda: revoke(jti))
        else:
            cast.ann.user.is_active = False
            await in_database(cast.ann.user.save)
        await ann.next(type="session_revoked")
        assert (await ann.next(type="goodbye"))["reconnect"] is False
        assert await ann.closed() == 4403


@pytest.mark.parametrize("origin", ["https://elsewhere.example", "null"])
async def test_foreign_pages_are_refused(server: LiveServer, origin: str) -> None:
    """A page of another origin gets HTTP 403."""
    with pytest.raises(InvalidStatus) as refused:
        async with ChatClient(server.url, origin=origin):
            pass
    assert refused.value.response.status_code == 403


async def test_our_own_pages_are_welcome(server: LiveServer) -> None:
    """A page of the server's own origin may connect."""
    async with ChatClient(server.url, origin=server.http_url) as client:
        assert (await client.ask("ping"))["type"] == "pong"


async def test_a_stopping_server_says_goodbye(start_server: Callable[..., LiveServer], cast: Cast) -> None:
    """SIGTERM ends every connection with 1012 and asks it to come back."""
    server = start_server()
    async with ChatClient(server.url, cast.ann.token) as ann:
        await ann.connect()
        assert (await ann.ask("send_message", recipientId=cast.bob.id, content="Hello"))["seq"] == 1
        assert server.stop() == 0
        goodbye = await ann.next(type="goodbye")
        assert (goodbye["code"], goodbye["reconnect"]) == (1012, True)
        assert await ann.closed() == 1012
    assert "Traceback" not in server.log


MALFORMED: dict[str, tuple[str | bytes, str, str | None]] = {
    "not JSON": ("{", "INVALID_JSON", None),
    "NaN": ('{"type":"ping","x":NaN}', "INVALID_JSON", None),
    "binary": (b"{}", "UNSUPPORTED_FORMAT", None),
    "an array": ("[]", "VALIDATION_ERROR", None),
    "no type": ("{}", "VALIDATION_ERROR", "type"),
    "a type that is no string": ('{"type":1}', "VALIDATION_ERROR", "type"),
    "an unknown type": ('{"type":"fly"}', "UNKNOWN_TYPE", "type"),
    "a wrong field": ('{"type":"send_message","content":1}', "VALIDATION_ERROR", "content"),
    "a missing field": ('{"type":"block_user"}', "VALIDATION_ERROR", "userId"),
    "a NUL": ('{"type":"send_message","recipientId":"1","content":"a\\u0000"}', "VALIDATION_ERROR", "content"),
    "a surrogate": ('{"type":"send_message","recipientId":"1","content":"\\ud800"}', "VALIDATION_ERROR", "content"),
    "nested deeply": ('{"type":"ping","x":' + "[" * 100_000 + "]" * 100_000 + "}", "VALIDATION_ERROR", None),
    "a long requestId": ('{"type":"ping","requestId":"' + "x" * 65 + '"}', "VALIDATION_ERROR", "requestId"),
    "a requestId that is no string": ('{"type":"ping","requestId":1}', "VALIDATION_ERROR", "requestId"),
    "an id that is none": ('{"type":"get_messages","conversationId":"x"}', "VALIDATION_ERROR", "conversationId"),
    "two conversations": ('{"type":"get_messages"}', "VALIDATION_ERROR", "conversationId"),
    "two pages": (
        f'{{"type":"get_messages","conversationId":"{uuid.uuid4()}","before":1,"after":1}}',
        "VALIDATION_ERROR",
        "after",
    ),
    "a huge number": (
        f'{{"type":"get_messages","conversationId":"{uuid.uuid4()}","before":1e99}}',
        "VALIDATION_ERROR",
        "before",
    ),
    "nobody to write to": ('{"type":"send_message","content":"x"}', "VALIDATION_ERROR", "recipientId"),
}


@pytest.mark.parametrize("name", MALFORMED)
async def test_malformed_frames_harm_nothing(server: LiveServer, cast: Cast, name: str) -> None:
    """Each malformed frame gets its error, with the field at fault, and the connection goes on."""
    frame, code, field = MALFORMED[name]
    async with ChatClient(server.url, cast.ann.token) as ann:
        await ann.connect()
        await ann.send_text(frame)
        error = await ann.next(type="error")
        assert (error["code"], error.get("field")) == (code, field)
        assert (await ann.ask("test"))["type"] == "test_response"


async def test_unknown_fields_are_named(server: LiveServer) -> None:
    """What a request holds beyond its fields is ignored and told."""
    async with ChatClient(server.url) as client:
        assert (await client.ask("ping", colour="red"))["ignored"] == ["colour"]


async def test_twenty_unusable_frames_are_too_many(server: LiveServer) -> None:
    """A client that sends no requests at all is closed with 4400."""
    async with ChatClient(server.url) as client:
        for _ in range(20):
            await client.send_text("?")
        assert (await client.next(type="goodbye"))["code"] == 4400
        assert await client.closed() == 4400
