"""Who may see which stretches of which logs, and how far they have received them."""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Collection
from typing import Any, NamedTuple

from django.contrib.auth import get_user_model
from django.core.exceptions import ValidationError
from django.db import connection, transaction
from django.db.models import F
from django.db.models.functions import Greatest, Least

from messaging.delivery.doors import write_lock
from messaging.delivery.profiles import UserKey
from messaging.models import Conversation, Interval, Participant

CHANGED_MAX = 10_000  # conversations that one position check looks at


class Stretch(NamedTuple):
    """A part of the log that a user may see, both ends included."""

    from_seq: int
    to_seq: int | None  # None while the membership goes on
    visible_from: int  # the first seq whose message they may see in it


class Membership(NamedTuple):
    """A user's place in one conversation's log."""

    conversation_id: str
    last_seq: int  # the end of the log
    delivered_seq: int
    cleared_seq: int
    stretches: tuple[Stretch, ...]  # in order

    @property
    def is_member(self) -> bool:
        """Whether live events follow."""
        return self.stretches[-1].to_seq is None


def user_key(text: str) -> UserKey | None:
    """Return the primary key that a user id on the wire stands for, or None if it cannot be one."""
    field = get_user_model()._meta.pk  # noqa: SLF001 — Django's public API for models' metadata
    try:
        key = field.clean(text, None)  # with the range of the database's integers
    except ValidationError:
        return None
    return key if str(key) == text and "\x00" not in text else None  # "007" is nobody's id


def memberships_of(
    users: Collection[UserKey],
    *,
    conversation_ids: Collection[str] | None = None,
    changed_since: dt.datetime | None = None,
) -> dict[UserKey, list[Membership]]:
    """Return the memberships of some users, past ones too; one query.

    Args:
        users: whose.
        conversation_ids: only in these conversations.
        changed_since: only those that began or ended since.

    """
    found = Interval.objects.filter(participant__user_id__in=users)
    if conversation_ids is not None:
        found = found.filter(participant__conversation_id__in=conversation_ids)
    if changed_since is not None:
        found = found.filter(participant__changed_at__gt=changed_since)
    rows: dict[tuple[UserKey, Any], list[tuple[Any, ...]]] = defaultdict(list)
    for user, conversation, *rest in found.order_by("from_seq").values_list(
        "participant__user_id",
        "participant__conversation_id",
        "participant__conversation__last_seq",
        "participant__delivered_seq",
        "participant__cleared_seq",
        "from_seq",
        "to_seq",
        "participant__conversation__kind",
    ):
        rows[user, conversation].append(tuple(rest))
    memberships: dict[UserKey, list[Membership]] = defaultdict(list)
    for (user, conversation), intervals in rows.items():
        last_seq, delivered_seq, cleared_seq = intervals[0][:3]
        stretches = tuple(_stretch(*interval[3:]) for interval in intervals)
        memberships[user].append(Membership(str(conversation), last_seq, delivered_seq, cleared_seq, stretches))
    return memberships


def _stretch(from_seq: int, to_seq: int | None, kind: str) -> Stretch:
    return Stretch(from_seq, to_seq, 1 if kind == Conversation.Kind.COMMUNITY else from_seq)


def changed_conversations(since: dt.datetime) -> list[tuple[str, int]]:
    """Return conversations whose log has grown since a moment, with its end; the newest first if there are too many."""
    found = Conversation.objects.filter(changed_at__gt=since).order_by("-changed_at")
    return [(str(pk), last_seq) for pk, last_seq in found.values_list("pk", "last_seq")[:CHANGED_MAX]]


def record_delivered(positions: Collection[tuple[str, str, int]]) -> None:
    """Move delivered positions on, never back and never beyond the log: (conversation, user id, seq); one statement."""
    rows = [(conversation, key, seq) for conversation, user, seq in positions if (key := user_key(user)) is not None]
    if not rows:
        return
    if connection.vendor == "postgresql":
        _record_on_postgresql(rows)
        return
    with write_lock(), transaction.atomic():
        for conversation, key, seq in rows:
            participants = Participant.objects.filter(conversation_id=conversation, user_id=key, delivered_seq__lt=seq)
            # SQLite allows no join in an UPDATE; the ceiling is for acknowledgements of what does not exist.
            last_seq = Conversation.objects.filter(pk=conversation).values("last_seq")
            participants.update(delivered_seq=Greatest(F("delivered_seq"), Least(seq, last_seq[:1])))


def _record_on_postgresql(rows: list[tuple[str, UserKey, int]]) -> None:
    key_type = get_user_model()._meta.pk.rel_db_type(connection)  # noqa: SLF001
    statement = f"""
        WITH reached AS MATERIALIZED (
            SELECT p.id, LEAST(w.seq, c.last_seq) AS seq
            FROM unnest(%s::uuid[], %s::{key_type}[], %s::bigint[]) AS w(conversation_id, user_id, seq)
            JOIN messaging_participant p ON p.conversation_id = w.conversation_id AND p.user_id = w.user_id
            JOIN messaging_conversation c ON c.id = w.conversation_id
            WHERE p.delivered_seq < w.seq
            ORDER BY p.id FOR NO KEY UPDATE OF p
        )
        UPDATE messaging_participant p SET delivered_seq = reached.seq
        FROM reached WHERE p.id = reached.id AND p.delivered_seq < reached.seq"""  # noqa: S608 — the type is Django's own
    with connection.cursor() as cursor:
        cursor.execute(statement, [list(column) for column in zip(*rows, strict=True)])
