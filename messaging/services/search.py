"""Finding messages by their words.

Messages are stored encrypted, and no index of their words is kept: it would tell a thief of the database how often
which word was written by whom, and each message would pay for it when it is sent. So a search opens messages from the
newest on, a bounded number for each request.
"""

from __future__ import annotations

import datetime as dt
import re
import unicodedata
from collections.abc import Iterator, Sequence
from typing import Any
from uuid import UUID

from django.db.models import Exists, OuterRef, Q, QuerySet

from messaging.delivery import rendering
from messaging.delivery.doors import snapshot
from messaging.delivery.profiles import UserKey
from messaging.delivery.rendering import MessageRow
from messaging.models import Conversation, Message, MessageDeletion
from messaging.protocol.errors import ValidationFailed
from messaging.schemas.messages import MessageView, SearchMessages, SearchResults
from messaging.services.conversations import visible_messages
from messaging.services.cursors import cursor_of, moment, open_cursor
from messaging.services.listing import open_stretches
from messaging.services.places import access_conversation

OPENED_MAX = 5_000  # messages that one request opens: a quarter of a second of a thread, measured
PORTION = 500  # messages read at once
WORDS_MAX = 10


def search_messages(caller: UserKey, request: SearchMessages) -> SearchResults:
    """Return messages that hold every word of the query and that the caller may see, the newest first.

    A word is found at the beginning of words, in any case: "hell" finds "Hello", "art" does not find "party". A word
    of a script without case, such as Chinese, which does not part its words, is found anywhere.

    Raises:
        ValidationFailed: the query has no word or too many, or the cursor is none of ours.
        NotFound: the caller is not in that conversation.

    """
    patterns = _patterns(request.query)
    with snapshot():
        places = _candidates(caller, request)
        found, looked_at = _look_through(places[:OPENED_MAX], patterns, limit=request.limit)
        has_more = looked_at < len(places)
        return SearchResults(
            messages=_views(caller, found),
            has_more=has_more,
            next_cursor=cursor_of(*places[looked_at - 1]) if has_more else None,
        )


def _patterns(query: str) -> list[re.Pattern[str]]:
    words = _folded(query).split()
    if not 1 <= len(words) <= WORDS_MAX:
        raise ValidationFailed(f"query must have 1 to {WORDS_MAX} words, it has {len(words)}", field="query")
    return [re.compile((r"(?<!\w)" if _has_borders(word) else "") + re.escape(word)) for word in words]


def _has_borders(word: str) -> bool:
    """Return whether a word is of a script that parts its words: one with cases, or a number."""
    return word[0].isdigit() or word[0].upper() != word[0].lower()


def _folded(text: str) -> str:
    """Return a text so that what reads the same is the same, in any case."""
    return text.lower() if text.isascii() else unicodedata.normalize("NFKC", text).casefold()


# Where a message stands: its time and id, by which the cursor finds it again.
_Place = tuple[dt.datetime, UUID]


def _candidates(caller: UserKey, request: SearchMessages) -> list[_Place]:
    """Return the places of the messages to look through, the newest first, one more than are opened; one query."""
    messages = _readable(caller, request.conversation_id).filter(deleted_at=None)
    if request.before is not None:
        created_at, message_id = open_cursor(request.before, moment, UUID)
        messages = messages.filter(Q(created_at__lt=created_at) | Q(created_at=created_at, pk__lt=message_id))
    return list(messages.order_by("-created_at", "-pk").values_list("created_at", "pk")[: OPENED_MAX + 1])


def _readable(caller: UserKey, conversation_id: str | None) -> QuerySet[Message, Any]:
    if conversation_id is not None:
        return visible_messages(caller, access_conversation(caller, conversation_id))
    here = open_stretches(caller).filter(
        participant__conversation_id=OuterRef("conversation_id"), visible_from__lte=OuterRef("seq")
    )
    hidden = MessageDeletion.objects.filter(message_id=OuterRef("pk"), user_id=caller)
    return Message.objects.filter(Exists(here), ~Exists(hidden)).exclude(conversation__state=Conversation.State.DELETED)


def _look_through(
    places: Sequence[_Place], patterns: Sequence[re.Pattern[str]], *, limit: int
) -> tuple[list[MessageRow], int]:
    """Return the first messages that hold all words, and how many were looked at for them."""
    found: list[MessageRow] = []
    looked_at = 0
    for row in _rows(places):
        text = rendering.open_content(row)
        looked_at += 1
        if text is not None and all(pattern.search(folded) for folded in [_folded(text)] for pattern in patterns):
            found.append(row)
            if len(found) == limit:
                break
    return found, looked_at


def _rows(places: Sequence[_Place]) -> Iterator[MessageRow]:
    """Yield messages in the order of their places, read in portions: most searches end early."""
    for start in range(0, len(places), PORTION):
        ids = [message_id for _, message_id in places[start : start + PORTION]]
        found = rendering.rows_of(Message.objects.filter(pk__in=ids).values_list(*rendering.ROW_FIELDS))
        by_id = {row.id: row for row in found}
        yield from (by_id[message_id] for message_id in ids)


def _views(caller: UserKey, found: Sequence[MessageRow]) -> list[MessageView]:
    conversations = {row.conversation_id for row in found}
    stretches = open_stretches(caller).filter(participant__conversation_id__in=conversations)
    visible_from = dict(stretches.values_list("participant__conversation_id", "visible_from"))
    return rendering.page_views(found, caller, visible_from=visible_from)
