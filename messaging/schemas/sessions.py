"""Connecting, catching up and staying connected, on the wire."""

from __future__ import annotations

from typing import Annotated, ClassVar

from msgspec import Meta

from messaging.protocol.registry import Request
from messaging.schemas.wire import Cursors, Frame


class Connect(Request, frozen=True, kw_only=True):
    """Authenticate, or renew the token of an authenticated connection."""

    wire_types: ClassVar[tuple[str, ...]] = ("connect", "authenticate", "auth")
    token: Annotated[str, Meta(max_length=16_384)] | None = None
    resume: Cursors | None = None
    ack: bool = False


class Ping(Request, frozen=True, kw_only=True):
    """Show a sign of life, and acknowledge on the way."""

    wire_types: ClassVar[tuple[str, ...]] = ("ping",)
    cursors: Cursors | None = None


class Test(Request, frozen=True, kw_only=True):
    """See whether anybody answers."""

    __test__: ClassVar[bool] = False  # it is no test case, whatever pytest thinks of its name
    wire_types: ClassVar[tuple[str, ...]] = ("test",)


class Ack(Request, frozen=True, kw_only=True):
    """Acknowledge what has arrived, up to these seqs."""

    wire_types: ClassVar[tuple[str, ...]] = ("ack",)
    cursors: Cursors


class Sync(Request, frozen=True, kw_only=True):
    """Ask for everything after these cursors."""

    wire_types: ClassVar[tuple[str, ...]] = ("sync",)
    cursors: Cursors


class Connected(Frame, frozen=True, kw_only=True, tag="connected", tag_field="type"):
    """The welcome."""

    client_id: str
    requires_auth: bool
    protocol_version: int
    heartbeat_interval: int  # seconds
    timestamp: str


class AuthSuccess(Frame, frozen=True, kw_only=True, tag="auth_success", tag_field="type"):
    """Whose connection this now is, and until when."""

    user_id: str
    username: str
    display_name: str
    profile_image: str | None
    expires_at: str


class SyncComplete(Frame, frozen=True, kw_only=True, tag="sync_complete", tag_field="type"):
    """Everything asked for has been written, but for the conversations named in `incomplete`."""

    delivered: int
    has_more: bool
    incomplete: list[str]


class TokenExpiring(Frame, frozen=True, kw_only=True, tag="token_expiring", tag_field="type"):
    """The token ends within a minute."""

    expires_at: str


class SessionRevoked(Frame, frozen=True, kw_only=True, tag="session_revoked", tag_field="type"):
    """The token was revoked or its user deactivated."""

    reason: str


class Pong(Frame, frozen=True, kw_only=True, tag="pong", tag_field="type"):
    """The answer to a ping."""

    timestamp: str


class TestResponse(Frame, frozen=True, kw_only=True, tag="test_response", tag_field="type"):
    """The answer to a test."""

    __test__: ClassVar[bool] = False
    message: str
    timestamp: str
