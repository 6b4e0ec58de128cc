"""What comes of a stored message: the reply to its sender and the event to everyone else, each encoded once."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass

import msgspec
from msgspec import UNSET, UnsetType

from messaging.delivery import rendering
from messaging.delivery.news import Hint, LiveEvent, News
from messaging.delivery.profiles import profiles_of
from messaging.delivery.rows import NewRow, Peer
from messaging.delivery.sending import Appended, Repeated, SendCommand
from messaging.models import Conversation
from messaging.protocol.envelope import encode, encode_reply
from messaging.schemas.messages import MESSAGE_EVENTS, MentionOf, MessageView, ReplyTo, Sent
from messaging.schemas.wire import wire_time


@dataclass(frozen=True, slots=True)
class Result:
    """A stored message's reply and news."""

    conversation_id: str
    seq: int
    reply: Sent
    reply_frame: bytes
    news: list[News]
    has_event: bool  # the news hold the event itself, in whose place the reply goes


def result_of_appended(appended: Appended, moment: dt.datetime, is_online: Callable[[str], bool]) -> Result:
    """Return the reply and the event of a message that has just been committed."""
    row, command = appended.row, appended.command
    quote = appended.quote
    created_at = wire_time(moment)
    view = _view(appended, created_at, rendering.reply_to(quote) if quote else None)
    message = msgspec.Raw(encode(view))
    bare_frame = None
    if quote is not None:
        bare = _view(appended, created_at, rendering.reply_to(quote, may_see=False))
        bare_frame = _event_frame(row, bare, msgspec.Raw(encode(bare)))
    event = LiveEvent(
        conversation_id=row.conversation_id,
        seq=row.seq,
        frame=_event_frame(row, view, message),
        command_id=row.message_id,
        subject_seq=row.seq,
        reply_seq=quote.seq if quote else 0,
        bare_frame=bare_frame,
        quote_hidden_for=appended.quote_hidden_for,
        joined=_first_joiners(appended),
        joined_sees_from=row.seq,
    )
    reply = command.reply_type(
        conversation_id=row.conversation_id,
        group_id=view.group_id,
        seq=row.seq,
        timestamp=created_at,
        message_id=row.message_id,
        client_message_id=command.client_message_id,
        message=message,
        recipient_online=_online(appended.peer, is_online),
        warning=appended.warning,
    )
    return _result(command, reply, [event], has_event=True)


def result_of_repeated(repeated: Repeated, is_online: Callable[[str], bool]) -> Result:
    """Return the reply to a message that was stored before, as it is now; run it on a database thread."""
    row, command = repeated.known.row, repeated.command
    view = rendering.page_views([row], command.sender, visible_from=repeated.visible_from)[0]
    reply = command.reply_type(
        conversation_id=view.conversation_id,
        group_id=view.group_id,
        seq=view.seq,
        timestamp=view.created_at,
        message_id=view.message_id,
        client_message_id=command.client_message_id,
        message=msgspec.Raw(encode(view)),
        recipient_online=_online(repeated.peer, is_online),
        duplicate=True if repeated.is_duplicate else UNSET,
    )
    # Our own earlier try was committed unheard of: the hubs read its event from the log.
    news: list[News] = [] if repeated.is_duplicate else [Hint(view.conversation_id, view.seq)]
    return _result(command, reply, news, has_event=False)


def _result(command: SendCommand, reply: Sent, news: list[News], *, has_event: bool) -> Result:
    assert isinstance(reply.seq, int)  # noqa: S101 — for the type checker
    frame = encode_reply(reply, command.caller.request_id, command.caller.ignored)
    return Result(reply.conversation_id, reply.seq, reply, frame, news, has_event)


def _view(appended: Appended, created_at: str, quoted: ReplyTo | None) -> MessageView:
    row = appended.row
    profiles = profiles_of(appended.mentioned)
    mentions: list[MentionOf] = [
        rendering.mention_of(None if user is None else profiles[user]) for user in appended.mentioned
    ]
    return MessageView(
        message_id=row.message_id,
        conversation_id=row.conversation_id,
        group_id=rendering.group_id_of(row.conversation_id, appended.conversation.kind),
        seq=row.seq,
        kind=row.kind,
        sender=appended.command.caller.user.profile,
        content=appended.command.content,
        client_message_id=row.client_message_id,
        reply_to=quoted,
        mentions=mentions,
        reactions=[],
        created_at=created_at,
        edited_at=None,
        is_edited=False,
        is_deleted=False,
        is_pinned=False,
    )


def _event_frame(row: NewRow, view: MessageView, message: msgspec.Raw) -> bytes:
    event_class = MESSAGE_EVENTS[row.event_type]
    return encode(
        event_class(
            conversation_id=row.conversation_id,
            group_id=view.group_id,
            seq=row.seq,
            timestamp=view.created_at,
            message=message,
        )
    )


def _online(peer: Peer | None, is_online: Callable[[str], bool]) -> bool | UnsetType:
    if peer is None:
        return UNSET
    return not peer.is_blocked and is_online(str(peer.key))  # a send may be repeated while there is a block


def _first_joiners(appended: Appended) -> list[str] | None:
    """Return the two people of a direct conversation for its first event, by which their workers learn of it."""
    if appended.peer is None or appended.row.seq != 1 or appended.conversation.kind != Conversation.Kind.DIRECT:
        return None
    return [appended.command.caller.user.user_id, str(appended.peer.key)]
