"""Pages kept ready: the same answers as the database's, whatever becomes of the cache."""

import json
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from messaging import services
from messaging.delivery import doors, profiles, rendering
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


async def test_a_lost_account_shows_at_once_to_who_has_not_heard_of_it(
    server: LiveServer, cast: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What somebody wrote stays, without their name; their reactions go, even where their name is still remembered."""
    conversation_id, *_ = await talk(server, cast)

    def run() -> None:
        key = cast.bob.user.pk
        before = page(cast.ann, conversation_id)["messages"]
        assert [each["userIds"] for each in before[0]["reactions"]] == [[cast.bob.id]]
        remembered = profiles.profiles_of([key])[key]
        cast.bob.user.delete()
        with monkeypatch.context() as patched:
            patched.setitem(profiles._remembered, key, remembered)  # the news of the deletion was lost
            after = page(cast.ann, conversation_id)["messages"]
        assert after[0]["reactions"] == []
        assert after[0]["mentions"] == []
        assert [each["sender"]["userId"] for each in after[:2]] == [cast.ann.id, None]
        same_without_cache(monkeypatch, [cast.ann], conversation_id)

    await in_database(run)


async def test_a_name_that_changes_meanwhile_is_not_kept(
    server: LiveServer, cast: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A page made while somebody is renamed is shown, but made anew next time; the old name is not remembered."""
    conversation_id, *_ = await talk(server, cast)

    def run() -> None:
        key = cast.bob.user.pk
        old = profiles.profiles_of([key])[key]
        profiles.remember(key, old)
        original = rendering.load

        def rename() -> None:
            cast.bob.user.first_name = "Robert"
            cast.bob.user.save()
            connection.close()

        def renamed_meanwhile(*args: Any) -> rendering.Loaded:
            loaded = original(*args)
            elsewhere = threading.Thread(target=rename)
            elsewhere.start()
            elsewhere.join()
            return loaded

        with monkeypatch.context() as patched:
            patched.setattr(rendering, "load", renamed_meanwhile)
            page(cast.ann, conversation_id)
        assert [each["sender"]["displayName"] for each in page(cast.ann, conversation_id)["messages"]][1] == "Robert"
        profiles.remember(key, old)  # by who reads in an older snapshot
        same_without_cache(monkeypatch, [cast.ann, cast.bob], conversation_id)

    await in_database(run)


async def test_pages_of_large_messages_and_of_a_hundred(live_database: None, cast: Cast) -> None:
    """A hundred small messages come from the page that is kept, of large ones as many as it has."""

    def run() -> None:
        for text, limit in (("Hello", 100), ("x" * 5_000, 50)):
            conversation_id = _long_conversation(cast, Conversation.Kind.GROUP, count=150, text=text)
            page(cast.ann, conversation_id)
            with CaptureQueriesContext(connection) as warm:
                found = page(cast.ann, conversation_id, limit=limit)
            assert reads(warm) == 1
            assert [each["seq"] for each in found["messages"]] == list(range(151 - limit, 151))
            assert found["hasMore"] is True
            more = page(cast.ann, conversation_id, limit=200)
            assert [each["seq"] for each in more["messages"]] == list(range(1, 151))
            assert more["hasMore"] is False

    await in_database(run)


async def test_what_cannot_be_read_is_looked_at_again(
    server: LiveServer, cast: Cast, caplog: pytest.LogCaptureFixture
) -> None:
    """A page with a quote of an unreadable message is not kept: its key may be back tomorrow."""
    conversation_id, first, *_ = await talk(server, cast)

    def run() -> None:
        message = Message.objects.get(pk=first)
        sealed = bytes(message.sealed_content or b"")
        for stored, excerpt in ((sealed[:-1] + bytes([sealed[-1] ^ 1]), None), (sealed, f"Hello @{cast.bob.name}")):
            Message.objects.filter(pk=first).update(sealed_content=stored)
            for _ in range(2):
                shown = page(cast.ann, conversation_id, limit=3)["messages"]
                assert shown[-1]["replyTo"].get("excerpt") == excerpt

    await in_database(run)
    assert "cannot be decrypted" in caplog.text


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
        sealed, foreign = cache._memory[name], cache._memory[other]
        assert stale is not None
        write(services.edit_message, cast.ann.user.pk, ids[0], content="edited")
        broken = [foreign, sealed[:-1] + bytes([sealed[-1] ^ 1]), sealed[:40], b"", b"\0" * 100]
        for entry in broken:
            cache._memory[name] = entry
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


def _long_conversation(cast: Cast, kind: str, *, count: int = 10_000, text: str = "Hello @all") -> str:
    """Make a conversation of many messages of many senders, with replies, mentions and reactions."""
    conversation = Conversation.objects.create(kind=kind, last_seq=count)
    for person in (cast.ann, cast.bob):
        place = Participant.objects.create(conversation=conversation, user=person.user)
        Interval.objects.create(participant=place, from_seq=1)
    senders = [person.user for person in (cast.ann, cast.bob, cast.carl, cast.mallory)]
    messages: list[Message] = []
    for seq in range(1, count + 1):
        place_of = Place(str(message_id := new_id()), str(conversation.pk), str(senders[seq % 4].pk))
        messages.append(
            Message(
                id=message_id,
                conversation=conversation,
                seq=seq,
                sender=senders[seq % 4],
                sender_key=str(senders[seq % 4].pk),
                key_id=keyring().current.id,
                sealed_content=keyring().current.seal(text.encode(), place_of),
                reply_to=messages[-1] if seq % 3 == 0 else None,
            )
        )
    Message.objects.bulk_create(messages, batch_size=1_000)
    Reaction.objects.bulk_create(
        Reaction(message=message, user=senders[number % 4], emoji="+") for number, message in enumerate(messages[-300:])
    )
    mentioning = range(max(1, count - 300), count + 1) if "@" in text else ()
    Mention.objects.bulk_create(Mention(conversation=conversation, seq=seq, user=None) for seq in mentioning)
    return str(conversation.pk)


async def test_a_page_of_ten_thousand_costs_a_fixed_number(live_database: None, cast: Cast) -> None:
    """Of a conversation of ten thousand messages any page costs the same few statements, whatever is on it."""

    def run() -> None:
        conversation_id = _long_conversation(cast, Conversation.Kind.GROUP)
        page(cast.ann, conversation_id)  # the profiles are remembered from here on
        with CaptureQueriesContext(connection) as warm:
            page(cast.ann, conversation_id)
        assert reads(warm) == 1
        # Where it is kept the place, else place, messages, quotes from beyond, deletions, mentions and reactions.
        requests = [({"limit": 1}, 1), ({"limit": 50}, 1), ({"limit": 100}, 1)]
        requests += [
            ({"limit": 200}, 6),
            ({"before": 5_000}, 6),
            ({"after": 11, "limit": 1}, 6),
            ({"offset": 5_001}, 6),
        ]
        for fields, statements in requests:
            with CaptureQueriesContext(connection) as captured:
                found = page(cast.bob, conversation_id, **fields)
            assert len(found["messages"]) == fields.get("limit", 50)
            assert reads(captured) == statements, fields
        for number, limit in enumerate((1, 50, 100)):
            Conversation.objects.filter(pk=conversation_id).update(last_seq=10_001 + number)
            with CaptureQueriesContext(connection) as cold:
                page(cast.ann, conversation_id, limit=limit)
            assert reads(cold) == 6  # place, again in a snapshot, messages, a quote from beyond, mentions, reactions

    await in_database(run)


def reads(captured: CaptureQueriesContext) -> int:
    """Return how many statements have read something."""
    return sum(query["sql"].startswith("SELECT") for query in captured)
