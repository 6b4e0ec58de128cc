"""Blocking and following, on the wire."""

from __future__ import annotations

from typing import ClassVar

from messaging.protocol.registry import Request
from messaging.schemas.wire import Frame, Profile, UserId


class BlockUser(Request, frozen=True, kw_only=True):
    """Block someone, both ways."""

    wire_types: ClassVar[tuple[str, ...]] = ("block_user",)
    user_id: UserId


class UnblockUser(Request, frozen=True, kw_only=True):
    """Lift one's own block."""

    wire_types: ClassVar[tuple[str, ...]] = ("unblock_user",)
    user_id: UserId


class FollowUser(Request, frozen=True, kw_only=True):
    """Follow someone."""

    wire_types: ClassVar[tuple[str, ...]] = ("follow_user",)
    user_id: UserId


class UnfollowUser(Request, frozen=True, kw_only=True):
    """Follow someone no more."""

    wire_types: ClassVar[tuple[str, ...]] = ("unfollow_user",)
    user_id: UserId


class GetBlockedUsers(Request, frozen=True, kw_only=True):
    """List whom one has blocked."""

    wire_types: ClassVar[tuple[str, ...]] = ("get_blocked_users",)


class UserBlockedReply(Frame, frozen=True, kw_only=True, tag="user_blocked", tag_field="type"):
    """This user is blocked."""

    user_id: str


class UserUnblocked(Frame, frozen=True, kw_only=True, tag="user_unblocked", tag_field="type"):
    """This user is not blocked (any more)."""

    user_id: str


class UserFollowed(Frame, frozen=True, kw_only=True, tag="user_followed", tag_field="type"):
    """This user is followed."""

    user_id: str


class UserUnfollowed(Frame, frozen=True, kw_only=True, tag="user_unfollowed", tag_field="type"):
    """This user is not followed (any more)."""

    user_id: str


class BlockedUsers(Frame, frozen=True, kw_only=True, tag="blocked_users", tag_field="type"):
    """Whom one has blocked."""

    users: list[Profile]
