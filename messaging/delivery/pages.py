"""The newest pages of conversations, kept ready to be sent.

A page is the same for all readers but for what each may not see, which is cut out when it is read. It holds while the
conversation is the version it was made of, by what the database says to the reader: every edit, deletion, reaction and
pin is an event, which makes a new version, and so does the deletion of an account; and while the people in it are
called what they were called then.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import msgspec
from django.contrib.auth import get_user_model

from messaging.delivery import rendering
from messaging.delivery.cache import cache
from messaging.delivery.profiles import profiles_of
from messaging.delivery.rendering import MessageRow, Quote
from messaging.models import Message
from messaging.protocol.envelope import encode
from messaging.schemas.messages import MessageView
from messaging.schemas.wire import Profile

MESSAGES_MAX = 100  # that a page gives; one more is in it, which tells whether there are more
BYTES_MAX = 256 * 1024  # of content in a page; of larger messages it has fewer


class PageMessage(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One message of a page, encoded."""

    seq: int
    message_id: str
    size: int  # of its sealed content, in bytes
    view: bytes  # a MessageView on the wire
    bare_view: bytes | None = None  # the same without the excerpt, for who may not see the quoted message
    quote_seq: int = 0
    quote_id: str = ""


class Page(msgspec.Struct, frozen=True, array_like=True):
    """The newest messages of a conversation."""

    version: str  # of the conversation when this was made
    is_whole: bool  # whether there are no older messages
    people: dict[str, Profile]  # who is named in it, by their keys as text
    messages: list[PageMessage]  # the newest first

    def message_ids(self) -> set[str]:
        """Return the messages that a reader may have deleted for themselves: those here, and those quoted."""
        quoted = {each.quote_id for each in self.messages if each.quote_id}
        return quoted | {each.message_id for each in self.messages}


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Page).decode


def kept_page(conversation_id: str, version: str) -> Page | None:
    """Return the newest page of a version of a conversation, if it is kept."""
    for look in (cache.from_memory, cache.from_shared):
        if (page := _valid(look(_name(conversation_id)), version)) is not None:
            return page
    return None


def new_page(conversation_id: str, version: str) -> Page:
    """Return the newest page of a conversation, made anew and kept.

    Must be called in the snapshot, or under the lock, in which `version` was read.
    """
    newest = Message.objects.filter(conversation_id=conversation_id).order_by("-seq")
    found = rendering.rows_of(newest.values_list(*rendering.ROW_FIELDS)[: MESSAGES_MAX + 2])
    rows = _within_bytes(found[: MESSAGES_MAX + 1])
    loaded = rendering.load(rows)
    views = loaded.views(rendering.reply_to)
    people = _people(_named(views))
    page = Page(
        version=version,
        is_whole=len(rows) == len(found),
        people=people,
        messages=[_message(row, view, loaded.quote_of(row)) for row, view in zip(rows, views, strict=True)],
    )
    if loaded.is_readable and _agrees(views, people):  # what cannot be read is logged at every look
        cache.put(_name(conversation_id), _encode(page))
    return page


def cut(
    page: Page, *, visible_from: int, hidden: Collection[str], limit: int, bytes_max: int
) -> tuple[list[msgspec.Raw], bool] | None:
    """Return the newest messages of a page for one reader, in chronological order, and whether there are more.

    Args:
        page: the page.
        visible_from: the first seq that the reader may see.
        hidden: messages that they deleted for themselves.
        limit: how many messages at the most.
        bytes_max: how much content at the most, but one message at least.

    Returns:
        None when the page does not reach as far as is asked for.

    """
    visible = [each for each in page.messages if each.seq >= visible_from and each.message_id not in hidden]
    reaches_back = page.is_whole or (bool(page.messages) and page.messages[-1].seq <= visible_from)
    if len(visible) <= limit and not reaches_back:
        return None
    taken: list[msgspec.Raw] = []
    size = 0
    for each in visible[:limit]:
        size += each.size
        if taken and size > bytes_max:
            break
        may_see_quote = each.bare_view is None or (each.quote_seq >= visible_from and each.quote_id not in hidden)
        taken.append(msgspec.Raw(each.view if may_see_quote else each.bare_view or b""))
    return taken[::-1], len(taken) < len(visible)


def _name(conversation_id: str) -> str:
    return f"conversation:{conversation_id}"


def _valid(encoded: bytes | None, version: str) -> Page | None:
    try:
        page = None if encoded is None else _decode(encoded)
    except msgspec.DecodeError:
        return None  # of another version of this service
    if page is None or page.version != version or _people(page.people) != page.people:
        return None
    return page


def _people(keys: Collection[str]) -> dict[str, Profile]:
    """Return people as they are called now by their keys as text."""
    to_key = get_user_model()._meta.pk.to_python  # noqa: SLF001 — Django's public API for models' metadata
    return {str(key): profile for key, profile in profiles_of(map(to_key, keys)).items()}


def _within_bytes(found: Sequence[MessageRow]) -> Sequence[MessageRow]:
    """Return as many rows as stay under the size of a page; sealed content is a little longer than its text."""
    size = 0
    for count, row in enumerate(found):
        size += len(row.sealed_content or b"")
        if size > BYTES_MAX:
            return found[:count]
    return found


def _agrees(views: Sequence[MessageView], people: Mapping[str, Profile]) -> bool:
    """Return whether everybody is called in some messages as they are now: a name may change between two looks."""
    senders = (view.sender for view in views if view.sender.user_id is not None)
    mentions = (mention for view in views for mention in view.mentions if isinstance(mention.user_id, str))
    return all(people[sender.user_id or ""] == sender for sender in senders) and all(
        people[str(mention.user_id)].username == mention.username for mention in mentions
    )


def _message(row: MessageRow, view: MessageView, quote: Quote | None) -> PageMessage:
    size, bare = len(row.sealed_content or b""), None
    if quote is not None and quote.excerpt is not None:
        bare = encode(msgspec.structs.replace(view, reply_to=rendering.reply_to(quote, may_see=False)))
    return PageMessage(
        seq=row.seq,
        message_id=view.message_id,
        size=size,
        view=encode(view),
        bare_view=bare,
        quote_seq=quote.seq if quote else 0,
        quote_id=quote.message_id if quote else "",
    )


def _named(views: Sequence[MessageView]) -> set[str]:
    """Return the ids of everybody who is in some messages: their writers, and who is mentioned or has reacted."""
    ids = {view.sender.user_id for view in views}
    ids |= {mention.user_id for view in views for mention in view.mentions if isinstance(mention.user_id, str)}
    ids |= {user_id for view in views for reaction in view.reactions for user_id in reaction.user_ids}
    return {user_id for user_id in ids if user_id is not None}
