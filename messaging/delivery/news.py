"""What travels over the channel layer between workers: news of what the database already holds.

Every value here is a small msgspec Struct; a batch of them is one msgpack message. Losing one costs time, never an
event.
"""

from __future__ import annotations

import msgspec


class LiveEvent(msgspec.Struct, frozen=True, array_like=True, gc=False, tag="e"):
    """One durable event, encoded once for all who get it, with what decides who sees less of it."""

    conversation_id: str
    seq: int
    frame: bytes  # the event on the wire
    command_id: str | None = None  # of the request that made it: its worker lets the reply go first
    subject_seq: int = 0  # of the message it is about; readers who do not see that one get `skipped`
    hidden_for: list[str] | None = None  # users who deleted that message for themselves
    reply_seq: int = 0  # of the message that it quotes
    bare_frame: bytes | None = None  # the same without the excerpt, for who may not see the quoted message
    quote_hidden_for: list[str] | None = None  # users who deleted the quoted message for themselves
    joined: list[str] | None = None  # users whose membership begins with this event
    joined_sees_from: int = 0  # the first seq that they may see: in communities the whole history is open
    left: list[str] | None = None  # users whose membership ends with it


class Hint(msgspec.Struct, frozen=True, array_like=True, gc=False, tag="h"):
    """A conversation's log has reached `seq`: from processes that have no sockets, such as commands."""

    conversation_id: str
    seq: int


class ToUsers(msgspec.Struct, frozen=True, array_like=True, gc=False, tag="u"):
    """An ephemeral frame for every connection of some users but the one that caused it."""

    user_ids: list[str]
    frame: bytes
    except_client_id: str | None = None


class Cleared(msgspec.Struct, frozen=True, array_like=True, gc=False, tag="c"):
    """A user deleted a conversation for themselves up to `seq`."""

    user_id: str
    conversation_id: str
    seq: int


class Revoked(msgspec.Struct, frozen=True, array_like=True, gc=False, tag="r"):
    """Sessions that end now: those of one token, or all of a user that began before a moment."""

    jti: str | None = None
    user_id: str | None = None
    issued_until: float | None = None  # seconds since the epoch; None with a user means every session
    reason: str = "the token was revoked"


class ProfileChanged(msgspec.Struct, frozen=True, array_like=True, gc=False, tag="p"):
    """A user may look different now; what workers remember of them is forgotten."""

    user_id: str


News = LiveEvent | Hint | ToUsers | Cleared | Revoked | ProfileChanged


class Batch(msgspec.Struct, frozen=True, array_like=True):
    """What one worker publishes at once; its counter lets the others see that one is missing."""

    worker_id: str  # "" from processes that are no workers: they do not count
    counter: int
    news: list[News]


encode_batch = msgspec.msgpack.Encoder().encode
decode_batch = msgspec.msgpack.Decoder(Batch).decode
