"""Somebody's messages from the newest on, over all their conversations, read only as far as they are wanted.

Messages lie in the database by conversation and seq; an index by time would be paid for by every message that is sent.
So the conversations are merged: what is read next is always of those that may hold the newest message not seen yet.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import or_
from typing import NamedTuple
from uuid import UUID

from django.db.models import Exists, F, OuterRef, Q, Subquery

from messaging.delivery.profiles import UserKey
from messaging.models import Conversation, Message, MessageDeletion
from messaging.services.listing import open_stretches

SEQS_AT_FIRST = 16  # of a conversation, looked at together; four times as many each further time
SEQS_MAX = 1_024  # of all conversations, looked at by one statement
# A message carries the time at which its transaction began: of two in one conversation that were sent at about the
# same time the later one may carry the earlier time, by no more than a transaction may take.
SKEW = dt.timedelta(seconds=60)


class Place(NamedTuple):
    """Where a message stands among all messages of everybody."""

    created_at: dt.datetime
    message_id: UUID


@dataclass(slots=True)
class _Source:
    """What is left of one conversation."""

    conversation_id: UUID
    visible_from: int
    end: int  # the first seq that has been looked at already
    newest: dt.datetime  # nothing that is left is newer
    width: int = SEQS_AT_FIRST

    def next_seqs(self) -> Q:
        """Return the condition on messages of the next look."""
        start = max(self.visible_from, self.end - self.width)
        return Q(conversation_id=self.conversation_id, seq__gte=start, seq__lt=self.end)


def newest_first(caller: UserKey, *, before: Place | None, conversation_id: str | None = None) -> Iterator[Place]:
    """Yield the places of what the caller may see and nobody has deleted, the newest first.

    Must be consumed in the snapshot in which it was begun.

    Args:
        caller: who reads.
        before: where to go on; None begins with the newest.
        conversation_id: only there, if the caller is a member.

    """
    left = _sources(caller, before, conversation_id)
    found: list[Place] = []
    while left or found:
        left.sort(key=lambda source: source.newest)
        found.sort()
        while found and (not left or found[-1].created_at > left[-1].newest):
            yield found.pop()
        looked_at = _promising(left)
        found += _look(caller, looked_at, before)
        left += [source for source in looked_at if source.end > source.visible_from]


def _sources(caller: UserKey, before: Place | None, conversation_id: str | None) -> list[_Source]:
    """Return the caller's conversations as far as they may hold something; one query."""
    stretches = open_stretches(caller).exclude(participant__conversation__state=Conversation.State.DELETED)
    if conversation_id is not None:
        stretches = stretches.filter(participant__conversation_id=conversation_id)
    if before is None:
        stretches = stretches.annotate(end_seq=F("participant__conversation__last_seq"))
    else:
        here = Message.objects.filter(conversation_id=OuterRef("participant__conversation_id"))
        earlier = here.filter(created_at__lte=before.created_at).order_by("-seq")
        stretches = stretches.annotate(end_seq=Subquery(earlier.values("seq")[:1]))
    found = stretches.values_list(
        "participant__conversation_id", "visible_from", "end_seq", "participant__conversation__last_message_at"
    )
    return [
        _Source(key, visible_from, end + 1, min(last_time, before.created_at if before else last_time) + SKEW)
        for key, visible_from, end, last_time in found
        if last_time is not None and end is not None and end >= visible_from
    ]


def _promising(left: list[_Source]) -> list[_Source]:
    """Take out the conversations that may hold the newest message, as many as one statement may look into."""
    taken: list[_Source] = []
    room = SEQS_MAX
    while left and left[-1].width <= room:
        room -= left[-1].width
        taken.append(left.pop())
    return taken


def _look(caller: UserKey, sources: Sequence[_Source], before: Place | None) -> list[Place]:
    """Return the messages among the next seqs of some conversations, which are looked at thereby; one query."""
    if not sources:
        return []
    hidden = MessageDeletion.objects.filter(message_id=OuterRef("pk"), user_id=caller)
    seqs = reduce(or_, [source.next_seqs() for source in sources])
    messages = Message.objects.filter(seqs, ~Exists(hidden), deleted_at=None)
    if before is not None:
        same_time = Q(created_at=before.created_at, pk__lt=before.message_id)
        messages = messages.filter(Q(created_at__lt=before.created_at) | same_time)
    by_id = {source.conversation_id: source for source in sources}
    for source in sources:
        source.end = max(source.visible_from, source.end - source.width)
        source.width = min(source.width * 4, SEQS_MAX)
    found = []
    rows = messages.order_by("-seq").values_list("conversation_id", "created_at", "pk")
    for conversation_id, created_at, message_id in rows:
        by_id[conversation_id].newest = created_at + SKEW
        found.append(Place(created_at, message_id))
    return found
