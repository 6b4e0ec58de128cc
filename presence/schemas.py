"""Presence's requests, replies and events."""

from __future__ import annotations

from typing import Annotated, ClassVar

from msgspec import Meta

from messaging.protocol.registry import Request
from messaging.schemas.wire import Frame, Profile, UserId


class OnlineUser(Profile, frozen=True, kw_only=True):
    """Somebody who is, or was, online."""

    last_seen: str | None


class UserOnline(Frame, frozen=True, kw_only=True, tag="user_online", tag_field="type"):
    """Somebody came online."""

    user: Profile
    last_seen: str


class UserOffline(Frame, frozen=True, kw_only=True, tag="user_offline", tag_field="type"):
    """Somebody has been gone for the grace period."""

    user: Profile
    last_seen: str


class GetOnlineUsers(Request, frozen=True, kw_only=True):
    """See who is online."""

    wire_types: ClassVar[tuple[str, ...]] = ("get_online_users",)


class OnlineUsers(Frame, frozen=True, kw_only=True, tag="online_users", tag_field="type"):
    """Who is online of those whose presence one is told."""

    users: list[OnlineUser]
    has_more: bool


class GetPresence(Request, frozen=True, kw_only=True):
    """See whether some users are online."""

    wire_types: ClassVar[tuple[str, ...]] = ("get_presence",)
    user_ids: Annotated[list[UserId], Meta(min_length=1, max_length=100)]


class PresenceOf(Frame, frozen=True, kw_only=True):
    """Whether one user is online."""

    user_id: str
    status: str  # "online" or "offline"
    last_seen: str | None


class PresenceReply(Frame, frozen=True, kw_only=True, tag="presence", tag_field="type"):
    """Whether some users are online, in the order asked for."""

    users: list[PresenceOf]
