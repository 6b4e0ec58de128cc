"""What a message costs in statements and transactions, and where its text is never to be found."""

import asyncio
import uuid
from pathlib import Path
from typing import Any

import psycopg
import pytest
import redis
from django.conf import settings
from django.db import connection, transaction
from django.db.backends.utils import CursorWrapper

from messaging import services
from messaging.delivery import doors
from messaging.schemas.messages import GetMessages
from tests.cast import Cast
from tests.client import ChatClient
from tests.database import in_database
from tests.server import LiveServer
from tests.test_engine import Engine, engine

__all__ = ["engine"]


def count_statements(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Collect every statement and every transaction of this process from now on."""
    seen: list[str] = []
    for cursor in (CursorWrapper, psycopg.Cursor):
        for name in ("execute", "executemany"):
            original = getattr(cursor, name)

            def counting(self: Any, *args: Any, _original: Any = original, **kwargs: Any) -> Any:
                # Django's cursors on PostgreSQL are psycopg's underneath: count them once.
                if isinstance(self, CursorWrapper) or type(self) is psycopg.Cursor:
                    seen.append("statement")
                return _original(self, *args, **kwargs)

            monkeypatch.setattr(cursor, name, counting)
    original_atomic = transaction.Atomic.__enter__

    def entering(self: transaction.Atomic) -> None:
        seen.append("transaction")
        original_atomic(self)

    monkeypatch.setattr(transaction.Atomic, "__enter__", entering)
    return seen


async def test_a_batch_costs_what_one_message_costs(
    engine: Engine, cast: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fifty messages sent together take at most the statements of two batches, however many rows they are."""
    ann = engine.caller(cast.ann)
    await engine.send(ann, cast.bob)
    seen = count_statements(monkeypatch)
    await engine.send(ann, cast.bob)
    one = list(seen)
    seen.clear()
    await asyncio.gather(*(engine.send(ann, cast.bob, str(number)) for number in range(50)))
    assert 1 <= one.count("transaction") <= 3  # the batch's own, and what the ORM nests in it without a commit
    assert seen.count("statement") <= 2 * one.count("statement")
    assert seen.count("transaction") <= 2 * one.count("transaction")


# Statements at most, the savepoints and locks of a transaction included, on either database; and whether it writes.
BUDGETS: dict[str, tuple[int, bool]] = {
    "start_conversation": (24, True),
    "get_messages": (14, False),
    "block_user": (14, True),
    "unblock_user": (6, True),
    "follow_user": (8, True),
    "unfollow_user": (6, True),
    "blocked_users": (2, False),
}


@pytest.mark.parametrize("name", BUDGETS)
async def test_requests_stay_within_their_budgets(
    engine: Engine, cast: Cast, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """A request takes a bounded number of statements however much there is, and a reading one opens no transaction."""
    ann = engine.caller(cast.ann)
    for number in range(60):
        await engine.send(ann, cast.bob, f"@{cast.bob.name} {number}")
    budget, writes = BUDGETS[name]
    argument: tuple[Any, ...] = () if name == "blocked_users" else (cast.bob.id,)
    if name == "get_messages":
        argument = (GetMessages(recipient_id=cast.bob.id, include_total=True),)
    service = getattr(services, name)
    key = cast.ann.user.pk
    seen = count_statements(monkeypatch)
    if writes:
        await in_database(lambda: doors.write(service, key, *argument, command_id=uuid.uuid4()))
    else:
        await in_database(lambda: doors.read(service, key, *argument))
    assert seen.count("statement") <= budget
    assert (seen.count("transaction") > 0) == writes


async def test_the_text_of_a_message_is_stored_nowhere(server: LiveServer, cast: Cast) -> None:
    """Neither the database, nor Redis, nor the log holds a marker that was sent, replied to and read."""
    marker = f"marker-{uuid.uuid4().hex}"
    async with ChatClient(server.url, cast.ann.token) as ann, ChatClient(server.url, cast.bob.token) as bob:
        await ann.connect()
        await bob.connect()
        sent = await ann.ask("send_message", recipientId=cast.bob.id, content=marker, clientMessageId="m")
        quoting = {"recipientId": cast.ann.id, "content": marker, "replyToMessageId": sent["messageId"]}
        assert (await bob.ask("send_message", **quoting))["type"] == "message_sent"
        assert (await ann.ask("get_messages", recipientId=cast.bob.id))["messages"][0]["content"] == marker
    assert await in_database(lambda: places_of(marker)) == []
    assert marker not in server.log


def places_of(marker: str) -> list[str]:
    """Return where the database and Redis hold a text, in clear or in hexadecimal."""
    if connection.vendor == "sqlite":
        files = Path(connection.settings_dict["NAME"]).parent.glob(Path(connection.settings_dict["NAME"]).name + "*")
        return [file.name for file in files if marker.encode() in file.read_bytes()]
    found = []
    with connection.cursor() as cursor:
        for table in connection.introspection.table_names(cursor):
            rows = f'SELECT count(*) FROM "{table}" AS whole WHERE whole::text LIKE ANY(%s)'  # noqa: S608 — our own table
            cursor.execute(rows, [[f"%{marker}%", f"%{marker.encode().hex()}%"]])
            found += [table] * cursor.fetchone()[0]
    client = redis.Redis.from_url(settings.REDIS_URL[0])
    found += [str(key) for key in client.scan_iter() if marker.encode() in (client.dump(key) or b"")]
    client.close()
    return found
