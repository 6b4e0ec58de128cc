"""The cache that workers share: sealed, not trusted, and never waited for twice."""

import pickle
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import redis
from django.conf import settings
from django.core.cache.backends.redis import RedisCache
from django.db import connection
from django.test.utils import CaptureQueriesContext

from messaging.delivery import cache as cache_module, pairs
from messaging.delivery.cache import PlainValues, cache
from messaging.delivery.rows import Pair
from tests.cast import Cast
from tests.client import ChatClient
from tests.database import in_database
from tests.processes import RedisProcess
from tests.server import LiveServer
from tests.test_caching import page, reads, talk


@pytest.mark.postgres_only
async def test_redis_holds_ciphertext_that_workers_share(server: LiveServer, cast: Cast) -> None:
    """A page made by one worker is found by another; in Redis there is no word of it, and no name."""
    conversation_id, *_ = await talk(server, cast)

    def run() -> None:
        page(cast.ann, conversation_id)
        cache._memory.clear()
        with CaptureQueriesContext(connection) as captured:
            page(cast.bob, conversation_id)
        assert reads(captured) == 1
        client = redis.from_url(settings.REDIS_URL[0])
        keys = [key for key in client.scan_iter("*conversation:*") if conversation_id.encode() in key]
        assert len(keys) == 1
        assert 0 < client.ttl(keys[0]) <= cache_module.IDLE_SECONDS
        for key in client.scan_iter("*conversation:*"):
            stored = client.get(key)
            assert isinstance(stored, bytes)
            assert b"Hello" not in stored
            assert cast.bob.name.encode() not in stored

    await in_database(run)


@pytest.mark.postgres_only
async def test_what_others_put_into_redis_is_not_believed(server: LiveServer, cast: Cast, tmp_path: Path) -> None:
    """Neither run, as a pickle would be, nor shown; and it is replaced, since the cache has not failed."""
    conversation_id, *_ = await talk(server, cast)
    proof = tmp_path / "run"

    def run() -> None:
        straight = page(cast.ann, conversation_id)
        client = redis.from_url(settings.REDIS_URL[0])
        (key,) = client.keys(f"*conversation:{conversation_id}")
        for stored in (pickle.dumps(_Trap(proof)), b"", b"12", b"\xc1", b"x", b"\xc4\x04abcd", b"\xa1y"):
            client.set(key, stored)
            cache._memory.clear()
            assert page(cast.ann, conversation_id) == straight
            assert cache._rests_until == 0
            assert client.get(key) != stored
        client.close()

    await in_database(run)
    assert not proof.exists()


class _Trap:
    """Runs something when it is unpickled."""

    def __init__(self, proof: Path) -> None:
        self._proof = proof

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self._proof,)


@pytest.mark.any_stack
@pytest.mark.parametrize("value", [0, -7, 1.5, "12", b"12", True, None, [1, "a"], {"a": b"\xff"}])
def test_plain_values_come_back(value: Any) -> None:
    """Integers are stored as they are, for Redis to count on, everything else as msgpack."""
    stored = PlainValues().dumps(value)
    assert isinstance(stored, int) == (type(value) is int)
    assert PlainValues().loads(str(stored).encode() if isinstance(stored, int) else stored) == value


@pytest.mark.postgres_only
async def test_workers_see_what_others_have_changed(start_server: Callable[..., LiveServer], cast: Cast) -> None:
    """Right after any change by one worker its page on another is the changed one, whichever made the last page."""
    one, other = start_server(), start_server()
    conversation_id, first, *_ = await talk(one, cast)
    asked = {"conversationId": conversation_id, "requestId": "r"}
    async with ChatClient(one.url, cast.ann.token) as ann, ChatClient(other.url, cast.bob.token) as bob:
        await ann.connect()
        await bob.connect()
        for number in range(5):
            await ann.ask("update_message", messageId=first, content=f"edit {number}")
            seen = await bob.ask("get_messages", **asked)
            assert seen["messages"][0]["content"] == f"edit {number}"
            await bob.ask("add_reaction", messageId=first, emoji=str(number))
            seen = await ann.ask("get_messages", **asked)
            assert str(number) in [each["emoji"] for each in seen["messages"][0]["reactions"]]
            assert seen == await bob.ask("get_messages", **asked)


@pytest.mark.postgres_only
async def test_a_cache_that_stops_answering(start_server: Callable[..., LiveServer], cast: Cast) -> None:
    """Redis frozen or killed between two requests changes no answer."""
    with RedisProcess() as redis_process:
        server = start_server(REDIS_URL=redis_process.url)
        conversation_id, *ids = await talk(server, cast)
        async with ChatClient(server.url, cast.ann.token) as ann:
            await ann.connect()
            asked = {"conversationId": conversation_id, "requestId": "r"}
            before = await ann.ask("get_messages", **asked)
            assert await ann.ask("get_messages", **asked) == before
            redis_process.freeze()
            assert await ann.ask("get_messages", **asked) == before
            await ann.ask("update_message", messageId=ids[0], content="edited")
            edited = await ann.ask("get_messages", **asked)
            assert edited["messages"][0]["content"] == "edited"
            redis_process.thaw()
            redis_process.kill()
            assert await ann.ask("get_messages", **asked) == edited


@pytest.mark.postgres_only
def test_a_broken_cache_rests(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """After a failure it is not asked for five seconds, then by one thread alone until it has answered."""
    now = 1.0
    monkeypatch.setattr(cache_module, "time", SimpleNamespace(monotonic=lambda: now))
    with RedisProcess() as redis_process:
        params = {"OPTIONS": settings.CACHES["default"]["OPTIONS"]}
        monkeypatch.setattr(cache_module, "shared", RedisCache(redis_process.url, params))
        ours, others = cache_module.SealedCache(), cache_module.SealedCache()
        others.put("x", b"1")
        with redis_process.frozen():
            assert ours.from_shared("x") is None
            now = 6.1
            assert ours.from_shared("x") is None
            assert ours._may_ask() is False
        now = 11.0
        assert ours.from_shared("x") is None  # it would answer
        now = 11.2
        assert ours._may_ask() is True
        assert ours._may_ask() is False  # another thread, while the first asks
        now = 16.3
        assert ours.from_shared("x") == b"1"
        assert ours._may_ask() is True
    assert [record.message for record in caplog.records] == [
        "the cache does not answer (TimeoutError); going on without it",
        "the cache answers again",
    ]


@pytest.mark.any_stack
def test_pairs_that_are_silent_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who has not written for half an hour, or before very many others, is looked up again; who writes is not."""
    now = 0.0
    monkeypatch.setattr(pairs, "time", SimpleNamespace(monotonic=lambda: now))
    known = pairs.KnownPairs()
    silent, busy = Pair.of(1, 2), Pair.of(1, 3)
    known.note({silent: "a", busy: "b"})
    for moment in (600.0, 1_000.0, 1_799.0, 2_000.0):
        now = moment
        known.note({busy: "b"})
        known.forget_idle()
    assert (known.get(silent), known.get(busy)) == (None, "b")
    for number in range(0, pairs.PAIRS_MAX + 10, 10):
        known.note({Pair.of(5, other): "c" for other in range(10 + number, 20 + number)})
    assert known.get(busy) is None
    assert len(known._now) + len(known._before) <= pairs.PAIRS_MAX
