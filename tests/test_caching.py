"""Pages kept ready: the same answers as the database's, whatever becomes of the cache."""

import json
import time
from collections.abc import Callable
from typing import Any

import pytest
import redis
from django.conf import settings
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from messaging import services
from messaging.delivery import cache as cache_module, doors
from messaging.delivery.cache import cache
from messaging.delivery.encryption import Place, keyring
from messaging.models import Conversation, Interval, Mention, Message, Participant, Reaction, new_id
from messaging.protocol.envelope import encode
from messaging.schemas.conversations import MarkRead
from messaging.schemas.messages import GetMessages
from messaging.services import conversations, pins
from tests.cast import Cast, Person
from tests.client import ChatClient
from tests.database import in_database
from tests.processes import RedisProcess
from tests.server import LiveServer


def page(person: Person, conversation_id: str, **fields: Any) -> Any:
    """Return the newest page as it goes over the wire."""
    request = GetMessages(conversation_id=conversation_id, **fields)
    return json.loads(encode(services.get_messages(person.user.pk, request)))


def same_without_cache(monkeypatch: pytest.MonkeyPatch, people: list[Person], conversation_id: str) -> None:
    """Assert that everybody's pages read the same from the cache, cold and warm, as straight from the database."""
    for person in people:
        for limit in (1, 3, 100):
            kept = [page(person, conversation_id, limit=limit) for _ in range(2)]
            with monkeypatch.context() as patched:
                patched.setattr(conversations, "MESSAGES_MAX", 0)
                straight = page(person, conversation_id, limit=limit)
            assert kept == [straight, straight]


def write(service: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Run a writing service as the server does."""
    return doors.write(service, *args, command_id=new_id(), **kwargs).result


async def talk(server: LiveServer, cast: Cast) -> list[str]:
    """Have ann and bob write five messages in one conversation, and return their ids behind its own."""
    async with ChatClient(server.url, cast.ann.token) as ann, ChatClient(server.url, cast.bob.token) as bob:
        await ann.connect()
        await bob.connect()
        first = await ann.ask("send_message", recipientId=cast.bob.id, content=f"Hello @{cast.bob.name}")
        ids = [first["conversationId"], first["messageId"]]
        for number, (client, to) in enumerate([(bob, cast.ann), (ann, cast.bob)] * 2):
            sent = await client.ask("send_message", recipientId=to.id, content=str(number), replyToMessageId=ids[1])
            ids.append(sent["messageId"])
        await bob.ask("add_reaction", messageId=ids[1], emoji="+")
    return ids


async def test_right_after_every_change(server: LiveServer, cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    """Edits, deletions, reactions, pins, clearings, new names and lost accounts show at once, to each what they see."""
    conversation_id, *ids = await talk(server, cast)
    ann, bob = cast.ann.user.pk, cast.bob.user.pk

    def rename() -> None:
        cast.bob.user.first_name = "Robert"
        cast.bob.user.save()

    changes: list[Callable[[], object]] = [
        lambda: None,
        lambda: write(services.edit_message, ann, ids[0], content="edited"),
        lambda: write(services.add_reaction, ann, ids[0], emoji="-"),
        lambda: write(services.remove_reaction, bob, ids[0], emoji="+"),
        lambda: write(services.delete_for_self, bob, ids[0]),
        lambda: write(services.delete_for_everyone, ann, ids[2]),
        lambda: write(services.add_reaction, bob, ids[3], emoji="*"),
        lambda: write(lambda: pins.pin(Message.objects.get(pk=ids[3]))),
        rename,
        lambda: write(services.mark_read, ann, MarkRead(conversation_id=conversation_id, seq=2)),
        lambda: write(services.delete_for_everyone, ann, ids[0]),
        lambda: write(services.delete_conversation, bob, conversation_id),
        cast.bob.user.delete,
    ]

    def run() -> None:
        for number, change in enumerate(changes):
            change()
            if number == 7:  # services that pin append an event, by which the page is made anew
                Conversation.objects.filter(pk=conversation_id).update(last_seq=1_000)
            people = [cast.ann, cast.bob] if cast.bob.user.pk else [cast.ann]
            same_without_cache(monkeypatch, people, conversation_id)

    await in_database(run)


async def test_what_is_stale_or_broken_is_not_believed(
    server: LiveServer, cast: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An entry of an older seq, of another conversation, with a flipped byte or of another shape is made anew."""
    conversation_id, *ids = await talk(server, cast)
    other_id, *_ = await talk(server, Cast(cast.ann, cast.carl, cast.bob, cast.mallory))

    def run() -> None:
        name, other = f"conversation:{conversation_id}", f"conversation:{other_id}"
        page(cast.ann, other_id)
        page(cast.ann, conversation_id)
        stale = cache.from_memory(name)
        sealed, used_at = cache._memory[name]
        foreign, _ = cache._memory[other]
        assert stale is not None
        write(services.edit_message, cast.ann.user.pk, ids[0], content="edited")
        broken = [foreign, sealed[:-1] + bytes([sealed[-1] ^ 1]), sealed[:40], b"", b"\0" * 100]
        for entry in broken:
            cache._memory[name] = entry, used_at
            assert cache.from_memory(name) is None
            same_without_cache(monkeypatch, [cast.ann], conversation_id)
        for content in (stale, b"", b"no msgpack"):
            cache.put(name, content)
            same_without_cache(monkeypatch, [cast.ann], conversation_id)

    await in_database(run)


async def test_the_idle_are_forgotten(live_database: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was not used for half an hour leaves the worker's memory at the next cleaning; what was used stays."""
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now)
    cache.drop_idle()
    cache.put("conversation:idle", b"1")
    cache.put("conversation:busy", b"2")
    now += 1_700
    assert cache.from_memory("conversation:busy") == b"2"
    now += 200
    cache.drop_idle()
    assert (cache.from_memory("conversation:idle"), cache.from_memory("conversation:busy")) == (None, b"2")


def _long_conversation(cast: Cast, kind: str) -> str:
    """Make a conversation of ten thousand messages of many senders, with replies, mentions and reactions."""
    conversation = Conversation.objects.create(kind=kind, last_seq=10_000)
    for person in (cast.ann, cast.bob):
        place = Participant.objects.create(conversation=conversation, user=person.user)
        Interval.objects.create(participant=place, from_seq=1)
    senders = [person.user for person in (cast.ann, cast.bob, cast.carl, cast.mallory)]
    messages: list[Message] = []
    for seq in range(1, 10_001):
        place_of = Place(str(message_id := new_id()), str(conversation.pk), str(senders[seq % 4].pk))
        messages.append(
            Message(
                id=message_id,
                conversation=conversation,
                seq=seq,
                sender=senders[seq % 4],
                sender_key=str(senders[seq % 4].pk),
                key_id=keyring().current.id,
                sealed_content=keyring().current.seal(b"Hello @all", place_of),
                reply_to=messages[-1] if seq % 3 == 0 else None,
            )
        )
    Message.objects.bulk_create(messages, batch_size=1_000)
    Reaction.objects.bulk_create(
        Reaction(message=message, user=senders[number % 4], emoji="+") for number, message in enumerate(messages[-300:])
    )
    Mention.objects.bulk_create(Mention(conversation=conversation, seq=seq, user=None) for seq in range(9_700, 10_001))
    return str(conversation.pk)


async def test_a_page_of_ten_thousand_costs_a_fixed_number(live_database: None, cast: Cast) -> None:
    """Of a conversation of ten thousand messages any page costs the same few statements, whatever is on it."""

    def run() -> None:
        conversation_id = _long_conversation(cast, Conversation.Kind.GROUP)
        page(cast.ann, conversation_id)  # the profiles are remembered from here on
        with CaptureQueriesContext(connection) as warm:
            page(cast.ann, conversation_id)
        assert _reads(warm) == 1
        requests = [{"limit": 1}, {"limit": 50}, {"limit": 100}, {"limit": 200}, {"before": 5_000}, {"offset": 5_000}]
        for fields in requests:
            with CaptureQueriesContext(connection) as captured:
                found = page(cast.bob, conversation_id, **fields)
            assert len(found["messages"]) == fields.get("limit", 50)
            assert _reads(captured) <= 6, fields
        with transaction.atomic():
            Conversation.objects.filter(pk=conversation_id).update(last_seq=10_001)
        with CaptureQueriesContext(connection) as cold:
            page(cast.ann, conversation_id)
        assert _reads(cold) == 4  # place, messages, mentions, reactions; what is quoted is on the page

    await in_database(run)


def _reads(captured: CaptureQueriesContext) -> int:
    return sum(query["sql"].startswith("SELECT") for query in captured)


@pytest.mark.postgres_only
async def test_redis_holds_ciphertext_that_workers_share(server: LiveServer, cast: Cast) -> None:
    """A page made by one worker is found by another; in Redis there is no word of it, and no name."""
    conversation_id, *_ = await talk(server, cast)

    def run() -> None:
        page(cast.ann, conversation_id)
        cache._memory.clear()
        with CaptureQueriesContext(connection) as captured:
            page(cast.bob, conversation_id)
        assert _reads(captured) == 1
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


def test_a_broken_cache_rests(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a failure of the shared cache it is not asked for five seconds."""

    class Broken:
        asked = 0

        def get(self, name: str) -> bytes:
            Broken.asked += 1
            raise TimeoutError(name)

        def set(self, name: str, value: bytes, timeout: int) -> None:
            Broken.asked += 1
            raise TimeoutError(name, value, timeout)

    now = 0.0
    monkeypatch.setattr(cache_module, "shared", Broken())
    monkeypatch.setattr(cache_module, "has_shared_cache", lambda: True)
    monkeypatch.setattr(time, "monotonic", lambda: now)
    broken = cache_module.SealedCache()
    for at, asked in ((1.0, 1), (2.0, 1), (5.9, 1), (6.1, 2)):
        now = at
        assert broken.from_shared("x") is None
        broken.put("x", b"1")
        assert Broken.asked == asked
        assert broken.from_memory("x") == b"1"
