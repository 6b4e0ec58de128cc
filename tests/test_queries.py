"""How PostgreSQL carries out the service's queries: by indexes, however large the tables are.

The plans in docs/queries.md are what this prints with a million messages:
CHAT_TEST_MESSAGES=1000000 python -m tests.stack postgres -- pytest tests/test_queries.py -rP --timeout=600
"""

import logging
import os
import sys
import uuid
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db import connection, transaction

from groups.schemas.groups import GetCommunities, GetUserGroups
from groups.schemas.members import GetGroupMembers
from groups.services import listing as groups, members
from messaging import services
from messaging.delivery import events, log, memberships, pages, revocations
from messaging.delivery.rows import Wanted
from messaging.delivery.storage import rows
from messaging.models import Message
from messaging.schemas.conversations import GetConversations, MarkRead, Typing
from messaging.schemas.messages import GetMessages, SearchMessages
from messaging.services import contacts, conversations, newest, people, pins, reads
from messaging.services.places import access_conversation
from messaging.services.typing import typing_audience
from presence import services as presence
from presence.schemas import GetPresence
from tests.plans import plans_of
from tests.population import Population, populate

pytestmark = pytest.mark.postgres_only
MEASURED = int(os.environ.get("CHAT_TEST_MESSAGES", "0"))  # how many messages; 0: a few, and only the plans
FEW = 40_000
LARGE = ("messaging_message", "messaging_event")


@pytest.fixture(scope="module")
def population(live_database: None) -> Iterator[Population]:
    """People with their messages, who are gone afterwards."""
    logging.disable(logging.ERROR)  # the messages cannot be decrypted
    if MEASURED:
        made = populate(MEASURED)
        with connection.cursor() as cursor:
            cursor.execute("VACUUM ANALYZE")
        yield made
    else:
        with transaction.atomic():
            yield populate(FEW)
            transaction.set_rollback(True)
    logging.disable(logging.NOTSET)


def _page(**fields: Any) -> Callable[[Population], object]:
    """Return what loads a page of a long conversation."""
    return lambda here: services.get_messages(here.busy, GetMessages(conversation_id=here.long, **fields))


def _batch(here: Population) -> None:
    """Lock and read what the writer has to know of a batch."""
    newest_id = Message.objects.filter(conversation_id=here.long).latest("seq").pk
    wanted = Wanted(
        conversation_ids={here.pair, here.long},
        senders={(here.pair, here.busy), (here.long, here.busy)},
        client_ids={(here.busy, "c-1"), (here.busy, "c-2")},
        quoted_ids={str(newest_id)},
        names={(here.long, "user5")},
    )
    rows().lock_and_read(wanted, wait=False)


def _minute_ago() -> datetime:
    return log.now() - timedelta(seconds=60)


QUERIES: dict[str, Callable[[Population], object]] = {
    "sending a batch": _batch,
    "whether a command was committed": lambda _: log.was_committed(uuid.uuid4()),
    "the gate to a conversation": lambda here: access_conversation(here.busy, here.long),
    "the newest page": lambda here: pages.new_page(here.long, "a version that nobody asks for"),
    "a page before": _page(before=100),
    "a page after": _page(after=200),
    "a page by offset": _page(offset=200),
    "the total": lambda here: conversations.count_messages(here.busy, GetMessages(conversation_id=here.long)),
    "the list of conversations": lambda here: services.get_conversations(here.busy, GetConversations()),
    "a search": lambda here: services.search_messages(here.busy, SearchMessages(query="nothing")),
    "a search that goes on": lambda here: next(
        newest.newest_first(here.busy, before=newest.Place(log.now() - timedelta(days=30), uuid.UUID(int=0)))
    ),
    "a position check": lambda here: (
        memberships.changed_conversations(_minute_ago()),
        memberships.memberships_of(here.people, changed_since=_minute_ago()),
    ),
    "connecting": lambda here: memberships.memberships_of([here.busy]),
    "a replay": lambda here: events.read(here.long, after=100, limit=200, viewer=here.busy),
    "reading a gap": lambda here: events.read(here.long, after=100, limit=20),
    "delivered positions": lambda here: memberships.record_delivered(
        [(here.pair, str(here.busy), 2), (here.long, str(here.peer), 2)]
    ),
    "who is told of delivered positions": lambda here: reads.delivered_news([(here.pair, str(here.busy))]),
    "reading on": lambda here: reads.mark_read(here.busy, MarkRead(conversation_id=here.long, seq=50)),
    "who is told of typing": lambda here: typing_audience(here.busy, Typing(conversation_id=here.long, is_typing=True)),
    "revocations": lambda here: revocations.revoked_since(_minute_ago(), here.people),
    "blocks": lambda here: (
        people.is_blocked(here.busy, here.peer),
        people.blocked_with(here.busy, here.people),
        people.blocked_users(here.busy),
    ),
    "pinned messages": lambda here: pins.pinned_messages(here.busy, access_conversation(here.busy, here.long)),
    "who is told of somebody's presence": lambda here: contacts.viewers_of(
        here.people[:10], here.people, everyone=False
    ),
    "who is online": lambda here: presence.online_users(here.peer),
    "the presence of some": lambda here: presence.presence_of(
        here.peer, GetPresence(user_ids=[str(key) for key in here.people[:100]])
    ),
    "changes of presence": lambda _: presence.changes_since(_minute_ago()),
    "the groups of somebody": lambda here: groups.user_groups(here.busy, GetUserGroups()),
    "communities": lambda here: groups.communities(here.busy, GetCommunities()),
    "members of a community": lambda here: members.group_members(here.busy, GetGroupMembers(group_id=here.community)),
}


@pytest.mark.parametrize("name", QUERIES)
def test_no_query_reads_a_whole_table(population: Population, name: str) -> None:
    """Neither messages nor events are read from beginning to end, for whatever question."""
    for plan in plans_of(lambda: QUERIES[name](population), is_measured=bool(MEASURED)):
        sys.stdout.write("\n".join((f"## {name}", plan.statement[:80], *plan.brief(), "")))
        assert not any(plan.scans(table) for table in LARGE), plan
