"""Finding messages by their words.

Messages are stored encrypted, and no index of their words is kept: it would tell a thief of the database how often
which word was written by whom, and each message would pay for it when it is sent. So a search opens messages from the
newest on, a bounded number for each request.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from itertools import islice
from uuid import UUID

from messaging.delivery import rendering
from messaging.delivery.doors import snapshot
from messaging.delivery.profiles import UserKey
from messaging.delivery.rendering import SealedRow
from messaging.models import Message
from messaging.protocol.errors import ValidationFailed
from messaging.schemas.messages import MessageView, SearchMessages, SearchResults
from messaging.services.cursors import cursor_of, moment, open_cursor
from messaging.services.listing import open_stretches
from messaging.services.newest import Place, newest_first
from messaging.services.places import access_conversation

OPENED_MAX = 5_000  # messages that one request opens: a quarter of a second of a thread, measured
OPENED_BYTES_MAX = 4 * 1024 * 1024  # and what they hold together, sealed: the longest messages are 20 KB
PORTION = 250  # messages read at once
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
    before = None if request.before is None else Place(*open_cursor(request.before, moment, UUID))
    with snapshot():
        if request.conversation_id is not None:
            access_conversation(caller, request.conversation_id)
        places = newest_first(caller, before=before, conversation_id=request.conversation_id)
        found, last = _look_through(places, patterns, limit=request.limit)
        return SearchResults(
            messages=_views(caller, found),
            has_more=last is not None,
            next_cursor=None if last is None else cursor_of(*last),
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


def _look_through(
    places: Iterator[Place], patterns: Sequence[re.Pattern[str]], *, limit: int
) -> tuple[list[UUID], Place | None]:
    """Return the first messages that hold all words, and the last one looked at if there are more behind it."""
    found: list[UUID] = []
    size = 0
    sealed = _sealed(places)
    for opened, (place, row) in enumerate(sealed, start=1):
        if _holds(row, patterns):
            found.append(row.id)
        size += len(row.sealed_content or b"")
        if len(found) == limit or opened == OPENED_MAX or size >= OPENED_BYTES_MAX:
            is_end = next(sealed, None) is None
            return found, None if is_end else place
    return found, None


def _holds(row: SealedRow, patterns: Sequence[re.Pattern[str]]) -> bool:
    text = rendering.open_content(row)
    if text is None:
        return False
    folded = _folded(text)
    return all(pattern.search(folded) for pattern in patterns)


def _sealed(places: Iterator[Place]) -> Iterator[tuple[Place, SealedRow]]:
    """Yield messages in the order of their places, read in portions: most searches end early."""
    while portion := list(islice(places, PORTION)):
        found = Message.objects.filter(pk__in=[place.message_id for place in portion]).values_list(*SealedRow._fields)
        by_id = {row[0]: SealedRow._make(row) for row in found}
        yield from ((place, by_id[place.message_id]) for place in portion)


def _views(caller: UserKey, found: Sequence[UUID]) -> list[MessageView]:
    """Return messages as the caller sees them, in this order."""
    messages = Message.objects.filter(pk__in=found).values_list(*rendering.ROW_FIELDS)
    by_id = {row.id: row for row in rendering.rows_of(messages)}
    stretches = open_stretches(caller).filter(
        participant__conversation_id__in={row.conversation_id for row in by_id.values()}
    )
    visible_from = dict(stretches.values_list("participant__conversation_id", "visible_from"))
    return rendering.page_views([by_id[key] for key in found], caller, visible_from=visible_from)
