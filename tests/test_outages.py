"""PostgreSQL and Redis die and come back under a running server."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest
from django.conf import settings
from django.db import connection

from tests.cast import Cast
from tests.client import ChatClient
from tests.processes import PostgresProcess, RedisProcess
from tests.server import LiveServer

pytestmark = pytest.mark.postgres_only

_MAKE_PEOPLE = """
from django.contrib.auth.models import User
from django.db import connection
for name in ("ann", "bob"):
    User.objects.create(pk={"ann": 1, "bob": 2}[name], username=name)
"""


@pytest.fixture
def postgres() -> Iterator[PostgresProcess]:
    """A PostgreSQL of the test's own, migrated, with ann (1) and bob (2)."""
    with PostgresProcess() as process:  # its commits survive the kill
        environment = {**os.environ, "DATABASE_URL": process.url}
        for command in (("migrate", "-v0"), ("shell", "-v0", "-c", _MAKE_PEOPLE)):
            subprocess.run([sys.executable, "manage.py", *command], env=environment, cwd=settings.BASE_DIR, check=True)
        yield process


async def test_a_killed_database_refuses_and_comes_back(
    start_server: Callable[..., LiveServer], cast: Cast, postgres: PostgresProcess
) -> None:
    """While PostgreSQL is away requests are SERVER_BUSY at once; when it is back the same connections go on."""
    server = start_server(DATABASE_URL=postgres.url)
    ann_token = cast.ann.new_token(sub="1")
    async with ChatClient(server.url, ann_token) as ann, ChatClient(server.url, cast.ann.new_token(sub="2")) as bob:
        await ann.connect()
        await bob.connect()
        assert (await ann.ask("send_message", recipientId="2", content="1"))["seq"] == 1
        postgres.kill()
        busy = await ann.ask("send_message", recipientId="2", content="2", clientMessageId="2")
        assert (busy["code"], busy["retryAfter"] > 0) == ("SERVER_BUSY", True)
        assert (await ann.ask("get_messages", recipientId="2"))["code"] == "SERVER_BUSY"
        postgres.start()
        for _ in range(100):
            reply = await ann.ask("send_message", recipientId="2", content="2", clientMessageId="2")
            if reply["type"] == "message_sent":
                break
            await asyncio.sleep(0.1)
        assert reply.get("seq") == 2, reply
        assert [(await bob.next(type="new_message"))["seq"] for _ in range(2)] == [1, 2]


async def test_without_redis_everything_still_arrives(start_server: Callable[..., LiveServer], cast: Cast) -> None:
    """Two servers whose Redis is killed deliver to each other by the database, and by Redis again once it is back."""
    with RedisProcess() as redis:
        one, two = start_server(REDIS_URL=redis.url), start_server(REDIS_URL=redis.url)
        async with ChatClient(one.url, cast.ann.token) as ann, ChatClient(two.url, cast.bob.token) as bob:
            await ann.connect()
            await bob.connect()
            for seq, change in ((1, None), (2, redis.kill), (3, redis.start), (4, None)):
                if change is not None:
                    change()
                assert (await ann.ask("send_message", recipientId=cast.bob.id, content="x"))["seq"] == seq
                assert (await bob.next(type="new_message"))["seq"] == seq
        assert connection.vendor == "postgresql"
