"""The writer's rows by the ORM, for every database that Django knows; used on SQLite."""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import reduce
from operator import or_
from typing import Any

from django.contrib.auth import get_user_model
from django.db import transaction
from django.db.models import F, Q

from messaging.delivery import rendering
from messaging.delivery.doors import write_lock
from messaging.delivery.log import now
from messaging.delivery.profiles import UserKey
from messaging.delivery.rows import Facts, Known, LockedConversation, Member, NewMention, NewRow, Pair, Peer, Wanted
from messaging.models import Block, Conversation, Event, Follow, Interval, Mention, Message, Participant


def _any(conditions: Iterable[Q]) -> Q:
    """Return the disjunction; of nothing, what is never true."""
    return reduce(or_, conditions, Q(pk__in=()))


class PortableRows:
    """The `Rows` of any database: correct first, since group commit pays for the ORM."""

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Open the transaction; on SQLite under the lock that all writers of the process share."""
        with write_lock(), transaction.atomic():
            yield

    def find_direct(self, pairs: Iterable[Pair]) -> dict[Pair, str]:
        """Return the conversations that exist."""
        by_key = {pair.key: pair for pair in pairs}
        found = Conversation.objects.filter(pair_key__in=by_key).values_list("pair_key", "pk")
        return {by_key[key]: str(pk) for key, pk in found if key is not None}

    def create_direct(self, pairs: Iterable[Pair]) -> dict[Pair, str]:
        """Return the conversations, made if missing."""
        wanted = set(pairs)
        users = {key for pair in wanted for key in pair}
        real = set(get_user_model()._default_manager.filter(pk__in=users).values_list("pk", flat=True))  # noqa: SLF001
        found = self.find_direct(wanted)
        made = [pair for pair in wanted - found.keys() if pair.first in real and pair.second in real]
        for pair in sorted(made, key=lambda pair: pair.key):
            found[pair] = self._create(pair)
        return found

    @staticmethod
    def _create(pair: Pair) -> str:
        conversation = Conversation.objects.create(kind=Conversation.Kind.DIRECT, pair_key=pair.key)
        for user in pair:
            participant = Participant.objects.create(conversation=conversation, user_id=user)
            Interval.objects.create(participant=participant, from_seq=1)
        return str(conversation.pk)

    def lock_and_read(self, wanted: Wanted, *, wait: bool) -> Facts:
        """Read everything; the process-wide lock and IMMEDIATE transactions are the lock."""
        del wait
        found = Conversation.objects.filter(pk__in=wanted.conversation_ids)
        conversations = {
            str(row.pk): LockedConversation(
                str(row.pk), row.kind, row.last_seq, row.posting, row.state, is_public=row.is_public
            )
            for row in found
        }
        quoted = self._messages(Q(pk__in=wanted.quoted_ids)) if wanted.quoted_ids else {}
        return Facts(
            moment=now(),
            conversations=conversations,
            held=frozenset(),  # SQLite locks as a whole
            members=self._members(wanted.senders),
            peers=self._peers(wanted.senders, conversations),
            known_by_client_id=self._known_by_client_id(wanted.client_ids),
            known_by_id=self._messages(Q(pk__in=wanted.message_ids)) if wanted.message_ids else {},
            quoted={key: known.row for key, known in quoted.items()},
            quoted_deleted_by={
                str(key): who for key, who in rendering.deleted_by(k.row.id for k in quoted.values()).items()
            },
            named=self._named(wanted.names),
        )

    @staticmethod
    def _members(senders: set[tuple[str, UserKey]]) -> dict[tuple[str, UserKey], Member]:
        found = Participant.objects.filter(
            conversation_id__in={conversation for conversation, _ in senders},
            user_id__in={user for _, user in senders},
            intervals__to_seq=None,
            intervals__from_seq__gte=0,  # an inner join: without an interval there is no membership
        ).values_list(
            "conversation_id",
            "user_id",
            "is_admin",
            "muted_until",
            "intervals__from_seq",
            "cleared_seq",
            "conversation__kind",
        )
        return {
            (str(conversation), user): Member(
                is_admin, muted_until, max(1 if kind == Conversation.Kind.COMMUNITY else from_seq, cleared + 1)
            )
            for conversation, user, is_admin, muted_until, from_seq, cleared, kind in found
        }

    @staticmethod
    def _peers(
        senders: set[tuple[str, UserKey]], conversations: dict[str, LockedConversation]
    ) -> dict[tuple[str, UserKey], Peer]:
        direct = {key for key, row in conversations.items() if row.kind == Conversation.Kind.DIRECT}
        people: dict[str, list[Any]] = defaultdict(list)
        for participant in Participant.objects.filter(conversation_id__in=direct).select_related("user"):
            people[str(participant.conversation_id)].append(participant.user)
        pairs = {
            (conversation, sender): user
            for conversation, sender in senders
            for user in people[conversation]
            if user.pk != sender
        }
        both_ways = [(sender, user.pk) for (_, sender), user in pairs.items()]
        both_ways += [(other, one) for one, other in both_ways]
        blocks = set(
            Block.objects.filter(_any(Q(blocker=one, blocked=other) for one, other in both_ways)).values_list(
                "blocker_id", "blocked_id"
            )
        )
        follows = set(
            Follow.objects.filter(_any(Q(follower=one, followed=other) for one, other in both_ways)).values_list(
                "follower_id", "followed_id"
            )
        )
        return {
            (conversation, sender): Peer(
                key=user.pk,
                is_active=user.is_active,
                is_blocked=(sender, user.pk) in blocks or (user.pk, sender) in blocks,
                is_followed=(sender, user.pk) in follows,
            )
            for (conversation, sender), user in pairs.items()
        }

    def _known_by_client_id(self, client_ids: set[tuple[UserKey, str]]) -> dict[tuple[UserKey, str], Known]:
        if not client_ids:
            return {}
        found = self._messages(_any(Q(sender=sender, client_message_id=client_id) for sender, client_id in client_ids))
        return {(known.row.sender_id, known.row.client_message_id or ""): known for known in found.values()}

    @staticmethod
    def _messages(condition: Q) -> dict[str, Known]:
        found = Message.objects.filter(condition).values_list("sealed_fingerprint", *rendering.ROW_FIELDS)
        return {str(row[0]): Known(rendering.MessageRow._make(row), sealed) for sealed, *row in found}

    @staticmethod
    def _named(names: set[tuple[str, str]]) -> dict[tuple[str, str], UserKey]:
        if not names:
            return {}
        username = f"user__{get_user_model().USERNAME_FIELD}"
        found = Participant.objects.filter(
            _any(Q(conversation_id=conversation, **{username: name}) for conversation, name in names),
            intervals__to_seq=None,
            intervals__from_seq__gte=0,
        ).values_list("conversation_id", username, "user_id")
        return {(str(conversation), name): user for conversation, name, user in found}

    def insert(
        self,
        rows: Sequence[NewRow],
        mentions: Sequence[NewMention],
        conversations: Sequence[LockedConversation],
        moment: dt.datetime,
    ) -> None:
        """Insert with one statement for each table."""
        Message.objects.bulk_create(
            Message(
                id=row.message_id,
                conversation_id=row.conversation_id,
                seq=row.seq,
                sender_id=row.sender,
                sender_key=str(row.sender),
                kind=row.kind,
                key_id=row.key_id,
                sealed_content=row.sealed_content,
                sealed_fingerprint=row.sealed_fingerprint,
                client_message_id=row.client_message_id,
                reply_to_id=row.reply_to_id,
                created_at=moment,
            )
            for row in rows
        )
        Event.objects.bulk_create(
            Event(
                conversation_id=row.conversation_id,
                seq=row.seq,
                type=row.event_type,
                actor_id=row.sender,
                message_id=row.message_id,
                subject_seq=row.seq,
                created_at=moment,
            )
            for row in rows
        )
        if mentions:
            Mention.objects.bulk_create(
                Mention(conversation_id=conversation_id, seq=seq, user_id=user)
                for conversation_id, seq, user in mentions
            )
        counts: dict[str, int] = defaultdict(int)
        for row in rows:
            counts[row.conversation_id] += 1
        by_count: dict[int, list[str]] = defaultdict(list)
        for conversation in conversations:
            by_count[counts[conversation.id]].append(conversation.id)
        for count, ids in by_count.items():
            Conversation.objects.filter(pk__in=ids).update(
                last_seq=F("last_seq") + count, last_message_at=moment, changed_at=moment
            )
