"""The writer's rows on PostgreSQL: one statement for each table over unnest arrays, in two pipelined round trips.

Measured against the ORM's bulk operations on the same machine: 13,750 against 3,470 messages/s at 200 in flight.
Django's cursors cannot read binary results, so psycopg's are used, on Django's connection and inside its `atomic()`.
"""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import psycopg
from django.contrib.auth import get_user_model
from django.db import connection, transaction

from messaging.delivery.rendering import MessageRow
from messaging.delivery.rows import Facts, Known, LockedConversation, Member, NewMention, NewRow, Pair, Peer, Wanted
from messaging.models import Conversation, new_id

LOCK_TIMEOUT = "1s"

_MESSAGE_COLUMNS = """m.sealed_fingerprint, m.id, m.conversation_id, m.seq, m.sender_id, m.sender_key, m.kind, m.key_id,
    m.sealed_content, m.client_message_id, m.reply_to_id, m.pinned_at, m.created_at, m.edited_at, m.deleted_at,
    c.kind"""
_FROM_MESSAGES = "FROM messaging_message m JOIN messaging_conversation c ON c.id = m.conversation_id"


class PostgresRows:
    """The `Rows` of PostgreSQL; statements are composed once, for the user model's table and key type."""

    def __init__(self) -> None:
        """Compose the statements that mention users."""
        users = get_user_model()
        meta = users._meta  # noqa: SLF001 — Django's public API for models' metadata
        names = {field.name for field in meta.get_fields()}
        self._parts = {
            "users": connection.ops.quote_name(meta.db_table),
            "pk": connection.ops.quote_name(_column(meta.pk.name)),
            "key": meta.pk.rel_db_type(connection) or "text",
            "username": connection.ops.quote_name(_column(users.USERNAME_FIELD)),
            "is_active": "u.is_active" if "is_active" in names else "true",
        }
        self._members = _MEMBERS.format(**self._parts)
        self._peers = _PEERS.format(**self._parts)
        self._known = _KNOWN.format(**self._parts)
        self._named = _NAMED.format(**self._parts)
        self._insert_messages = _INSERT_MESSAGES.format(**self._parts)
        self._insert_events = _INSERT_EVENTS.format(**self._parts)
        self._insert_mentions = _INSERT_MENTIONS.format(**self._parts)

    @staticmethod
    def _cursor() -> psycopg.Cursor[Any]:
        connection.ensure_connection()
        return psycopg.Cursor(connection.connection)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Open the transaction."""
        # psycopg's own cursors raise psycopg's errors; the writer knows Django's.
        with connection.wrap_database_errors, transaction.atomic():
            yield

    def find_direct(self, pairs: Iterable[Pair]) -> dict[Pair, str]:
        """Return the conversations that exist."""
        by_key = {pair.key: pair for pair in pairs}
        cursor = self._cursor()
        cursor.execute(
            "SELECT pair_key, id::text FROM messaging_conversation WHERE pair_key = ANY(%s::text[])", (list(by_key),)
        )
        return {by_key[key]: conversation_id for key, conversation_id in cursor}

    def create_direct(self, pairs: Iterable[Pair]) -> dict[Pair, str]:
        """Return the conversations, made if missing, in the order of their keys so that no two workers deadlock."""
        ordered = sorted(set(pairs), key=lambda pair: pair.key)
        ids = [str(new_id()) for _ in ordered]
        statement = _CREATE_DIRECT.format(**self._parts)
        firsts, seconds = [pair.first for pair in ordered], [pair.second for pair in ordered]
        self._cursor().execute(statement, (ids, [pair.key for pair in ordered], firsts, seconds))
        return self.find_direct(ordered)

    def lock_and_read(self, wanted: Wanted, *, wait: bool) -> Facts:
        """Lock and read in one round trip: in READ COMMITTED each statement sees what the locks waited for."""
        pipeline_connection = self._cursor().connection
        cursors = {
            name: psycopg.Cursor(pipeline_connection) for name in ("lock", "members", "peers", "known", "ids", "named")
        }
        ids = list(wanted.conversation_ids)
        conversations, senders = [c for c, _ in wanted.senders], [u for _, u in wanted.senders]
        with pipeline_connection.pipeline():
            if wait:
                cursors["lock"].execute(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'")
            cursors["lock"].execute(_LOCK.format(skip="" if wait else "SKIP LOCKED"), (ids,))
            cursors["members"].execute(self._members, (conversations, senders))
            cursors["peers"].execute(self._peers, (conversations, senders))
            if wanted.client_ids:
                cursors["known"].execute(
                    self._known, ([s for s, _ in wanted.client_ids], [c for _, c in wanted.client_ids])
                )
            if message_ids := wanted.message_ids | wanted.quoted_ids:
                cursors["ids"].execute(_MESSAGES_BY_ID, (list(message_ids),))
            if wanted.names:
                cursors["named"].execute(self._named, ([c for c, _ in wanted.names], [n for _, n in wanted.names]))
        return self._facts(cursors, wanted)

    def _facts(self, cursors: dict[str, psycopg.Cursor[Any]], wanted: Wanted) -> Facts:
        locked = cursors["lock"].fetchall()
        missing = wanted.conversation_ids - {row[1] for row in locked}
        by_id = _messages(cursors["ids"]) if wanted.message_ids or wanted.quoted_ids else {}
        known = _messages(cursors["known"]) if wanted.client_ids else {}
        return Facts(
            moment=locked[0][0] if locked else dt.datetime.now(dt.UTC),
            conversations={row[1]: LockedConversation(*row[1:]) for row in locked},
            held=self._existing(missing) if missing else frozenset(),
            members={(row[0], row[1]): Member(*row[2:]) for row in cursors["members"]},
            peers={(row[0], row[1]): Peer(*row[2:]) for row in cursors["peers"]},
            known_by_client_id={
                (each.row.sender_id, each.row.client_message_id or ""): each for each in known.values()
            },
            known_by_id={key: each for key, each in by_id.items() if key in wanted.message_ids},
            quoted={key: each.row for key, each in by_id.items() if key in wanted.quoted_ids},
            quoted_deleted_by=self._deleted_by(wanted.quoted_ids) if wanted.quoted_ids else {},
            named={(row[0], row[1]): row[2] for row in cursors["named"]} if wanted.names else {},
        )

    def _existing(self, conversation_ids: set[str]) -> frozenset[str]:
        """Return which conversations there are: what is there and was not locked is held by somebody else."""
        cursor = self._cursor()
        cursor.execute(
            "SELECT id::text FROM messaging_conversation WHERE id = ANY(%s::uuid[])", (list(conversation_ids),)
        )
        return frozenset(conversation_id for (conversation_id,) in cursor)

    def _deleted_by(self, quoted_ids: set[str]) -> dict[str, list[str]]:
        cursor = self._cursor()
        cursor.execute(
            "SELECT message_id::text, user_id FROM messaging_messagedeletion WHERE message_id = ANY(%s::uuid[])",
            (list(quoted_ids),),
        )
        users: dict[str, list[str]] = defaultdict(list)
        for message_id, user in cursor:
            users[message_id].append(str(user))
        return users

    def insert(
        self,
        rows: Sequence[NewRow],
        mentions: Sequence[NewMention],
        conversations: Sequence[LockedConversation],
        moment: dt.datetime,
    ) -> None:
        """Insert in one round trip; messages in the order of their unique key, lest two workers deadlock on it."""
        ordered = sorted(rows, key=lambda row: (str(row.sender), row.client_message_id or "", row.message_id))
        columns = list(map(list, zip(*ordered, strict=True)))
        cursor = self._cursor()
        with cursor.connection.pipeline():
            cursor.execute(self._insert_messages, (moment, *columns[:10]), binary=False)
            cursor.execute(self._insert_events, (moment, columns[1], columns[2], columns[3], columns[0], columns[10]))
            if mentions:
                cursor.execute(self._insert_mentions, list(map(list, zip(*mentions, strict=True))))
            ids, ends = [row.id for row in conversations], [row.last_seq for row in conversations]
            cursor.execute(_UPDATE_CONVERSATIONS, (moment, moment, ids, ends))


def _column(field: str) -> str:
    """Return the column of a field of the user model."""
    column = get_user_model()._meta.get_field(field).get_attname_column()[1]  # type: ignore[union-attr]  # noqa: SLF001
    return str(column)


def _messages(cursor: psycopg.Cursor[Any]) -> dict[str, Known]:
    return {str(row[0]): Known(MessageRow._make(row), sealed) for sealed, *row in cursor}


_LOCK = """
SELECT now(), id::text, kind, last_seq, posting, state, is_public FROM messaging_conversation
WHERE id = ANY(%s::uuid[]) ORDER BY id FOR NO KEY UPDATE {skip}"""

_MEMBERS = f"""
SELECT p.conversation_id::text, p.user_id, p.is_admin, p.muted_until,
       GREATEST(CASE c.kind WHEN '{Conversation.Kind.COMMUNITY}' THEN 1 ELSE i.from_seq END, p.cleared_seq + 1)
FROM unnest(%s::uuid[], %s::{{key}}[]) AS w(conversation_id, user_id)
JOIN messaging_participant p ON p.conversation_id = w.conversation_id AND p.user_id = w.user_id
JOIN messaging_interval i ON i.participant_id = p.id AND i.to_seq IS NULL
JOIN messaging_conversation c ON c.id = w.conversation_id"""

_PEERS = f"""
SELECT w.conversation_id::text, w.user_id, p.user_id, {{is_active}},
       EXISTS (SELECT FROM messaging_block b WHERE (b.blocker_id = w.user_id AND b.blocked_id = p.user_id)
                                                OR (b.blocker_id = p.user_id AND b.blocked_id = w.user_id)),
       EXISTS (SELECT FROM messaging_follow f WHERE f.follower_id = w.user_id AND f.followed_id = p.user_id)
FROM unnest(%s::uuid[], %s::{{key}}[]) AS w(conversation_id, user_id)
JOIN messaging_conversation c ON c.id = w.conversation_id AND c.kind = '{Conversation.Kind.DIRECT}'
JOIN messaging_participant p ON p.conversation_id = c.id AND p.user_id <> w.user_id
JOIN {{users}} u ON u.{{pk}} = p.user_id"""

_KNOWN = f"""
SELECT {_MESSAGE_COLUMNS} {_FROM_MESSAGES}
JOIN unnest(%s::{{key}}[], %s::text[]) AS w(sender_id, client_message_id)
  ON m.sender_id = w.sender_id AND m.client_message_id = w.client_message_id"""

_MESSAGES_BY_ID = f"SELECT {_MESSAGE_COLUMNS} {_FROM_MESSAGES} WHERE m.id = ANY(%s::uuid[])"

_NAMED = """
SELECT p.conversation_id::text, w.name, p.user_id
FROM unnest(%s::uuid[], %s::text[]) AS w(conversation_id, name)
JOIN {users} u ON u.{username} = w.name
JOIN messaging_participant p ON p.conversation_id = w.conversation_id AND p.user_id = u.{pk}
JOIN messaging_interval i ON i.participant_id = p.id AND i.to_seq IS NULL"""

_CREATE_DIRECT = f"""
WITH wanted AS (
    SELECT w.* FROM unnest(%s::uuid[], %s::text[], %s::{{key}}[], %s::{{key}}[]) AS w(id, pair_key, first, second)
    WHERE EXISTS (SELECT FROM {{users}} u WHERE u.{{pk}} = w.first)
      AND EXISTS (SELECT FROM {{users}} u WHERE u.{{pk}} = w.second)
    ORDER BY w.pair_key
), made AS (
    INSERT INTO messaging_conversation (id, kind, pair_key, last_seq, posting, state, is_public)
    SELECT id, '{Conversation.Kind.DIRECT}', pair_key, 0, '{Conversation.Posting.EVERYONE}',
           '{Conversation.State.OPEN}', false
    FROM wanted ORDER BY pair_key ON CONFLICT (pair_key) DO NOTHING RETURNING id, pair_key
), seated AS (
    INSERT INTO messaging_participant (conversation_id, user_id, is_admin, delivered_seq, read_seq, cleared_seq)
    SELECT made.id, person, false, 0, 0, 0
    FROM made JOIN wanted USING (pair_key) CROSS JOIN LATERAL unnest(ARRAY[wanted.first, wanted.second]) AS person
    RETURNING id
)
INSERT INTO messaging_interval (participant_id, from_seq) SELECT id, 1 FROM seated"""

_INSERT_MESSAGES = """
INSERT INTO messaging_message (created_at, id, conversation_id, seq, sender_id, sender_key, kind, key_id,
    sealed_content, sealed_fingerprint, client_message_id, reply_to_id)
SELECT %s, w.id, w.conversation_id, w.seq, w.sender_id, w.sender_id::text, w.kind, w.key_id,
    w.content, w.fingerprint, w.client_message_id, w.reply_to_id
FROM unnest(%s::uuid[], %s::uuid[], %s::bigint[], %s::{key}[], %s::text[], %s::integer[], %b::bytea[], %b::bytea[],
    %s::text[], %s::uuid[]) AS w(id, conversation_id, seq, sender_id, kind, key_id, content, fingerprint,
    client_message_id, reply_to_id)"""

_INSERT_EVENTS = """
INSERT INTO messaging_event (created_at, conversation_id, seq, actor_id, message_id, type, subject_seq)
SELECT %s, w.conversation_id, w.seq, w.actor_id, w.message_id, w.type, w.seq
FROM unnest(%s::uuid[], %s::bigint[], %s::{key}[], %s::uuid[], %s::text[])
    AS w(conversation_id, seq, actor_id, message_id, type)"""

_INSERT_MENTIONS = """
INSERT INTO messaging_mention (conversation_id, seq, user_id)
SELECT * FROM unnest(%s::uuid[], %s::bigint[], %s::{key}[])"""

_UPDATE_CONVERSATIONS = """
UPDATE messaging_conversation c SET last_seq = w.last_seq, last_message_at = %s, changed_at = %s
FROM unnest(%s::uuid[], %s::bigint[]) AS w(id, last_seq) WHERE c.id = w.id"""
