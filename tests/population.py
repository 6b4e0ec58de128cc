"""A service that has been in use for a year, made in the database: for looking at the plans of queries.

Most conversations are short, a few hold a hundredth of all messages each, and one community a tenth. One person,
`busy`, is in five hundred of them and has read nothing of the long ones. Rows lie on disk as they do in use: in the
order of their times, so that a conversation's messages are spread over the whole table.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass

from django.db import connection, transaction

DIRECT_OF_BUSY = 490
LONG = 10  # groups with a hundredth of all messages


@dataclass(frozen=True)
class Population:
    """Where to look."""

    busy: int  # the user who is in five hundred conversations
    peer: int  # somebody with whom busy has a conversation
    pair: str  # that conversation
    long: str  # a group with a hundredth of all messages, of busy and others
    community: str  # with a tenth of them
    people: list[int]  # two hundred users, busy among them


def populate(messages: int) -> Population:
    """Make about this many messages, with everything around them, and have the planner know of them."""
    mark = uuid.uuid4().hex[:8]
    sizes: dict[str, str | int] = {
        "mark": mark,
        "users": max(600, messages // 50),
        "pairs": max(1, messages // 20),
        "long": LONG,
        "direct": DIRECT_OF_BUSY,
        "long_size": messages // 100,
        "community_size": messages // 10,
        "direct_size": max(1, messages // 10_000),
        "pair_size": 15,
    }
    with transaction.atomic(), connection.cursor() as cursor:
        for statement in _STATEMENTS:
            cursor.execute(statement, sizes)
        cursor.execute("SELECT who, kind, min(conversation::text) FROM place GROUP BY 1, 2 ORDER BY 2")
        found = {kind: (who, conversation) for who, kind, conversation in cursor.fetchall() if who is not None}
        cursor.execute("SELECT first, second, conversation::text FROM place WHERE kind = 'direct' AND who IS NOT NULL")
        busy, peer, pair = cursor.fetchone()
        cursor.execute("SELECT id FROM person ORDER BY id LIMIT 200")
        people = [key for (key,) in cursor.fetchall()]
        cursor.execute("DROP TABLE person, place")
    return Population(busy, peer, pair, found["long"][1], found["community"][1], people)


# Everything hangs on a table of conversations with their people and sizes. Names are `mark`ed: there may be others.
_PEOPLE = """
CREATE TEMPORARY TABLE person AS
WITH made AS (
    INSERT INTO auth_user (username, password, first_name, last_name, email, is_active, is_staff, is_superuser,
        date_joined)
    SELECT 'user' || n || '_' || %(mark)s, '', '', '', '', true, false, false, now() - interval '1 year'
    FROM generate_series(1, %(users)s) AS n RETURNING id
)
SELECT id, row_number() OVER (ORDER BY id) AS n FROM made"""

_PLACES = """
CREATE TEMPORARY TABLE place AS
WITH one AS (SELECT min(id) AS id FROM person), wanted AS (
    SELECT 'community' AS kind, 1 AS first, 2 AS second, %(community_size)s AS size, true AS is_busy
    UNION ALL SELECT 'long', 1, 2 + n, %(long_size)s, true FROM generate_series(1, %(long)s) AS n
    UNION ALL SELECT 'direct', 1, 20 + n, %(direct_size)s, true FROM generate_series(1, %(direct)s) AS n
    UNION ALL SELECT DISTINCT ON (least(a, b), greatest(a, b)) 'direct', least(a, b), greatest(a, b),
        1 + (random() * 2 * (%(pair_size)s - 1))::integer, false
    FROM (SELECT 2 + (random() * (%(users)s - 3))::integer AS a, 2 + (random() * (%(users)s - 3))::integer AS b
          FROM generate_series(1, %(pairs)s)) AS drawn WHERE a <> b
)
SELECT gen_random_uuid() AS conversation, wanted.kind, size, a.id AS first, b.id AS second,
       CASE WHEN is_busy THEN one.id END AS who,
       now() - interval '1 year' * random() ^ 3 AS ends_at, interval '1 year' * random() AS lasts
FROM wanted CROSS JOIN one JOIN person a ON a.n = wanted.first JOIN person b ON b.n = wanted.second"""

_CONVERSATIONS = """
INSERT INTO messaging_conversation (id, kind, pair_key, last_seq, last_message_at, changed_at, created_at, posting,
    state, is_public)
SELECT conversation, CASE kind WHEN 'long' THEN 'group' ELSE kind END,
       CASE kind WHEN 'direct' THEN least(first::text, second::text) || ' ' || greatest(first::text, second::text) END,
       size, ends_at, ends_at, ends_at - lasts, 'everyone', 'open', kind = 'community'
FROM place"""

_PARTICIPANTS = """
WITH seat AS (
    SELECT conversation, first AS id, size, kind FROM place UNION SELECT conversation, second, size, kind FROM place
    UNION SELECT conversation, person.id, size, kind FROM place, person WHERE kind = 'long' AND n <= 20
    UNION SELECT conversation, person.id, size, kind FROM place, person WHERE kind = 'community' AND n %% 2 = 0
), seated AS (
    INSERT INTO messaging_participant (conversation_id, user_id, is_admin, delivered_seq, read_seq, cleared_seq,
        changed_at)
    SELECT conversation, id, false, size, CASE kind WHEN 'direct' THEN size * 9 / 10 ELSE 1 END, 0,
           now() - interval '1 year' * random()
    FROM seat RETURNING id
)
INSERT INTO messaging_interval (participant_id, from_seq) SELECT id, 1 FROM seated"""

# A UUIDv7 begins with the milliseconds of its time.
_MESSAGES = """
INSERT INTO messaging_message (id, conversation_id, seq, sender_id, sender_key, kind, key_id, sealed_content,
    sealed_fingerprint, client_message_id, created_at)
SELECT (lpad(to_hex((extract(epoch FROM at) * 1000)::bigint), 12, '0') || '7' || substr(digits, 1, 3) || 'a'
        || substr(digits, 4, 15))::uuid,
       conversation, seq, sender, sender::text, 'text', 0, convert_to(repeat(digits, 5), 'UTF8'),
       convert_to(repeat(digits, 3), 'UTF8'), digits, at
FROM (SELECT conversation, seq, CASE seq %% 2 WHEN 0 THEN first ELSE second END AS sender,
             ends_at - lasts * (1 - seq::float / size) AS at, md5(conversation::text || seq) AS digits
      FROM place, generate_series(1, size) AS seq) AS said
ORDER BY at"""

_EVENTS = """
INSERT INTO messaging_event (conversation_id, seq, type, actor_id, message_id, subject_seq, created_at)
SELECT m.conversation_id, m.seq, CASE place.kind WHEN 'direct' THEN 'new_message' ELSE 'new_group_message' END,
       m.sender_id, m.id, m.seq, m.created_at
FROM messaging_message m JOIN place ON conversation = conversation_id ORDER BY m.created_at"""

_REPLIES = """
UPDATE messaging_message m SET reply_to_id = earlier.id
FROM messaging_message earlier, place
WHERE conversation = m.conversation_id AND earlier.conversation_id = m.conversation_id AND m.seq %% 20 = 0
  AND earlier.seq = m.seq - 7"""

_REACTIONS = """
INSERT INTO messaging_reaction (message_id, user_id, emoji, created_at)
SELECT m.id, first, '+', m.created_at FROM messaging_message m JOIN place ON conversation = conversation_id
WHERE seq %% 20 = 0"""

_MENTIONS = """
INSERT INTO messaging_mention (conversation_id, seq, user_id)
SELECT conversation_id, seq, CASE WHEN seq %% 500 = 0 THEN NULL ELSE first END
FROM messaging_message JOIN place ON conversation = conversation_id WHERE seq %% 50 = 0"""

_DELETIONS = """
INSERT INTO messaging_messagedeletion (message_id, user_id)
SELECT m.id, first FROM messaging_message m JOIN place ON conversation = conversation_id WHERE random() < 0.002"""

_BLOCKS = """
INSERT INTO messaging_block (blocker_id, blocked_id, created_at)
SELECT a.id, b.id, now() FROM person a JOIN person b ON b.n = a.n + 100 WHERE a.n %% 4 = 1"""

_FOLLOWS = """
INSERT INTO messaging_follow (follower_id, followed_id, created_at)
SELECT a.id, b.id, now()
FROM person a CROSS JOIN generate_series(20, 25) AS further JOIN person b ON b.n = a.n + further"""

_GROUPS = """
INSERT INTO groups_group (conversation_id, name, description, max_members, member_count, was_frozen, created_at)
SELECT conversation, kind, '', 100000, 0, false, ends_at FROM place WHERE kind <> 'direct'"""

_MEMBERSHIPS = """
INSERT INTO groups_membership (group_id, user_id, role, joined_at)
SELECT conversation_id, user_id, CASE user_id WHEN first THEN 'owner' ELSE 'member' END, now()
FROM messaging_participant JOIN place ON conversation = conversation_id WHERE kind <> 'direct'"""

_PRESENCE = """
INSERT INTO presence_presence (user_id, is_online, last_seen, changed_at)
SELECT id, n %% 20 = 0, now() - interval '1 hour', now() - interval '1 hour' FROM person"""

_TOKENS = """
WITH issued AS (
    INSERT INTO token_blacklist_outstandingtoken (user_id, jti, token, created_at, expires_at)
    SELECT id, %(mark)s || n, '', now(), now() + interval '1 day' FROM person RETURNING id
)
INSERT INTO token_blacklist_blacklistedtoken (token_id, blacklisted_at)
SELECT id, now() - interval '1 month' * random() FROM issued"""

_CUTOFFS = """
INSERT INTO messaging_tokencutoff (user_id, revoked_before, changed_at)
SELECT id, now() - interval '1 day', now() - interval '1 day' FROM person WHERE n %% 10 = 0"""

_ANALYZE = "ANALYZE"
_STATEMENTS = (
    "SET LOCAL statement_timeout = 0",  # a million messages take half a minute
    "SELECT setseed(0.5)",
    _PEOPLE,
    _PLACES,
    _CONVERSATIONS,
    _PARTICIPANTS,
    _MESSAGES,
    _EVENTS,
    _REPLIES,
    _REACTIONS,
    _MENTIONS,
    _DELETIONS,
    _BLOCKS,
    _FOLLOWS,
    _GROUPS,
    _MEMBERSHIPS,
    _PRESENCE,
    _TOKENS,
    _CUTOFFS,
    _ANALYZE,
)
