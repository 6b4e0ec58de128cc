"""What all of messaging's frames are made of: ids, bounds, times, and the frames that carry a seq."""

from __future__ import annotations

import datetime as dt
from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, UnsetType

# Ids of conversations and messages are lower-case UUIDs, kept as the strings they are on the wire: a dictionary finds a
# string by its cached hash, while uuid.UUID hashes in Python on every look-up.
ConversationId = Annotated[str, Meta(pattern="^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")]
MessageId = ConversationId
UserId = Annotated[str, Meta(min_length=1, max_length=255)]  # whatever the user model's key is, as text
ClientMessageId = Annotated[str, Meta(min_length=1, max_length=128)]
Emoji = Annotated[str, Meta(min_length=1, max_length=32)]
Seq = Annotated[int, Meta(ge=0, le=2**53 - 1)]  # what a JavaScript number holds exactly
PageLimit = Annotated[int, Meta(ge=1, le=200)]
Cursors = Annotated[dict[ConversationId, Seq], Meta(max_length=5_000)]


class Frame(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """Anything the server sends; subclasses name their type on the wire as their tag."""


class Sequenced(Frame, frozen=True, kw_only=True):
    """A reply to a change: with a `seq` the hub puts it in that event's place, without one nothing was changed."""

    conversation_id: str
    group_id: str | UnsetType = UNSET
    seq: int | UnsetType = UNSET
    timestamp: str | UnsetType = UNSET
    changed: bool | UnsetType = UNSET


class Profile(Frame, frozen=True, kw_only=True):
    """A user as others see them; all None but `user_id` once the account is gone."""

    user_id: str | None
    username: str | None
    display_name: str | None
    profile_image: str | None


class Skipped(Frame, frozen=True, kw_only=True, tag="skipped", tag_field="type"):
    """The place of an event about a message that this user may not see."""

    conversation_id: str
    seq: int


def wire_time(moment: dt.datetime) -> str:
    """Return a moment as RFC 3339 in UTC with milliseconds, e.g. `2026-11-23T09:00:00.000Z`."""
    moment = moment.astimezone(dt.UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03d}Z"


def wire_now() -> str:
    """Return this machine's time as it stands on the wire; stored times are the database's."""
    return wire_time(dt.datetime.now(dt.UTC))
