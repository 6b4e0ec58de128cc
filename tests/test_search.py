"""Finding messages by their words, and by nothing that one may not see."""

import asyncio
import datetime as dt
import logging
import random
import uuid
from contextlib import AsyncExitStack
from typing import Any

import pytest
from django.utils import timezone

from messaging.delivery.encryption import Place, keyring
from messaging.gateway import turns
from messaging.models import Conversation, Interval, Message, Participant
from messaging.protocol.errors import ServerBusy
from messaging.schemas.messages import SearchMessages
from messaging.services import newest, search
from messaging.services.cursors import cursor_of
from tests.cast import Cast, Person
from tests.client import ChatClient
from tests.database import in_database
from tests.server import LiveServer
from tests.test_group_members import say
from tests.test_groups import create, enter


async def found(client: ChatClient, query: str, **fields: Any) -> list[str]:
    """Return the contents of what a search finds."""
    results = await client.ask("search_messages", query=query, **fields)
    assert results["type"] == "search_results", results
    return [message["content"] for message in results["messages"]]


async def test_every_word_in_any_case(server: LiveServer, cast: Cast) -> None:
    """A message is found if all words of the query begin words of it; scripts without case match anywhere."""
    async with AsyncExitStack() as stack:
        (ann,) = await enter(stack, server, cast.ann)
        texts = ["Hello World, it's 2026!", "STRASSE und Café", "今天天气很好", "a party", "ⅷ (eight)"]
        for text in texts:
            await ann.ask("send_message", recipientId=cast.bob.id, content=text)
        cases = {
            "hello": texts[0],
            "WORLD hell": texts[0],
            "2026": texts[0],
            "straße": texts[1],
            "CAFE\u0301": texts[1],
            "天气": texts[2],
            "viii": texts[4],
            "(eight": texts[4],
        }
        for query, text in cases.items():
            assert await found(ann, query) == [text], query
        for query in ("hello mars", "ello", "art", "026", "."):
            assert await found(ann, query) == [], query
        for wrong in ("", "  \n ", "x " * 11, "x" * 201):
            assert (await ann.ask("search_messages", query=wrong))["field"] == "query"
        assert (await ann.ask("search_messages", query="x", before="x"))["field"] == "before"


async def test_only_what_one_may_see(server: LiveServer, cast: Cast) -> None:
    """Of one's own conversations and what one may see in them; deleted, cleared and earlier messages are not found."""
    async with AsyncExitStack() as stack:
        ann, bob, mallory = await enter(stack, server, cast.ann, cast.bob, cast.mallory)
        group = await create(ann)
        await say(ann, group, "find early")
        await ann.ask("add_group_member", groupId=group, userId=cast.bob.id)
        await say(ann, group, "find late")
        community = (await ann.ask("create_community", name="x"))["groupId"]
        await say(ann, community, "find open")
        await bob.ask("join_community", communityId=community)
        direct = await ann.ask("send_message", recipientId=cast.bob.id, content="find direct")
        for for_everyone in (True, False):
            sent = await bob.ask("send_message", recipientId=cast.ann.id, content="find deleted")
            await bob.ask("delete_message", messageId=sent["messageId"], forEveryone=for_everyone)
        assert await found(ann, "find") == ["find deleted", "find direct", "find open", "find late", "find early"]
        assert await found(bob, "find") == ["find direct", "find open", "find late"]
        assert await found(bob, "find", conversationId=group) == ["find late"]
        await bob.ask("update_message", messageId=direct["messageId"], content="no")  # not theirs
        await ann.ask("update_message", messageId=direct["messageId"], content="find edited")
        assert await found(bob, "edited") == ["find edited"]
        await bob.ask("delete_conversation", conversationId=direct["conversationId"])
        await bob.ask("leave_group", groupId=group)
        assert await found(bob, "find") == ["find open"]
        await ann.ask("delete_group", groupId=community)
        assert await found(bob, "find") == []
        assert await found(mallory, "find") == []
        for conversation_id in (group, direct["conversationId"], community):
            refused = await mallory.ask("search_messages", query="find", conversationId=conversation_id)
            assert refused["code"] == "NOT_FOUND"


async def test_pages_follow_each_other(server: LiveServer, cast: Cast) -> None:
    """Newest first across conversations, each once, whatever is written meanwhile."""
    async with AsyncExitStack() as stack:
        (ann,) = await enter(stack, server, cast.ann)
        for number in range(7):
            person = (cast.bob, cast.carl)[number % 2]
            await ann.ask("send_message", recipientId=person.id, content=f"find {number}")
        seen: list[str] = []
        cursor: str | None = None
        while True:
            page = await ann.ask("search_messages", query="find", limit=3, before=cursor)
            seen += [message["content"] for message in page["messages"]]
            cursor = page["nextCursor"]
            assert page["hasMore"] == (cursor is not None)
            await ann.ask("send_message", recipientId=cast.bob.id, content="find new")
            if cursor is None:
                break
        assert seen == [f"find {number}" for number in reversed(range(7))]


async def test_a_request_opens_a_bounded_number(
    server: LiveServer, cast: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beyond that it answers what it has, and where to go on; what cannot be decrypted is passed over."""
    monkeypatch.setattr(search, "OPENED_MAX", 4)
    monkeypatch.setattr(search, "PORTION", 3)
    async with AsyncExitStack() as stack:
        (ann,) = await enter(stack, server, cast.ann)
        texts = ("find old", "find broken", "x", "x", "x", "x", "x")
        sent = [await ann.ask("send_message", recipientId=cast.bob.id, content=text) for text in texts]

    def look() -> list[tuple[list[str | None], bool]]:
        Message.objects.filter(pk=sent[1]["messageId"]).update(sealed_content=b"x" * 64)
        pages, cursor = [], None
        while True:
            page = search.search_messages(cast.ann.user.pk, SearchMessages(query="find", before=cursor))
            pages.append(([message.content for message in page.messages], page.has_more))
            cursor = page.next_cursor
            if cursor is None:
                return pages

    logging.disable(logging.ERROR)
    try:
        assert await in_database(look) == [([], True), (["find old"], False)]
    finally:
        logging.disable(logging.NOTSET)


def _many_conversations(cast: Cast) -> list[tuple[dt.datetime, str]]:
    """Have ann write into twelve groups, later messages now and then with the earlier time; return all in order."""
    chance, now = random.Random(7), timezone.now()  # noqa: S311 — the same every time
    said: list[tuple[dt.datetime, str]] = []
    for group in range(12):
        conversation = Conversation.objects.create(kind=Conversation.Kind.GROUP)
        place = Participant.objects.create(conversation=conversation, user=cast.ann.user)
        Interval.objects.create(participant=place, from_seq=1)
        seqs = sorted(chance.sample(range(1, 120), chance.choice((1, 5, 40))))  # what is between are other events
        begin = now - dt.timedelta(minutes=chance.random() * 5)
        times = [begin + dt.timedelta(seconds=seq - chance.random() * 50) for seq in seqs]
        if group < 3:
            times = [begin] * len(times)  # a batch has one time
        rows = [_sealed_row(conversation, cast.ann, seq, at) for seq, at in zip(seqs, times, strict=True)]
        Message.objects.bulk_create(rows)
        Conversation.objects.filter(pk=conversation.pk).update(last_seq=130, last_message_at=times[-1])
        said += [(row.created_at, str(row.pk)) for row in rows]
    return sorted(said, reverse=True)


def _sealed_row(conversation: Conversation, person: Person, seq: int, at: dt.datetime) -> Message:
    row = Message(conversation=conversation, seq=seq, sender=person.user, sender_key=person.id, created_at=at)
    row.key_id = keyring().current.id
    row.sealed_content = keyring().current.seal(b"find", Place(str(row.pk), str(conversation.pk), person.id))
    return row


@pytest.mark.parametrize(("opened", "limit"), [(10_000, 200), (30, 7), (7, 3)])
async def test_the_conversations_are_merged(
    live_database: None, cast: Cast, monkeypatch: pytest.MonkeyPatch, opened: int, limit: int
) -> None:
    """Newest first over all conversations, each message on one page, also of two whose times are not in their order."""
    monkeypatch.setattr(search, "OPENED_MAX", opened)
    monkeypatch.setattr(newest, "SEQS_MAX", 32)

    def look() -> None:
        said = _many_conversations(cast)
        found: list[tuple[dt.datetime, str]] = []
        cursor: str | None = None
        while True:
            request = SearchMessages(query="find", limit=limit, before=cursor)
            page = search.search_messages(cast.ann.user.pk, request)
            found += [(dt.datetime.fromisoformat(each.created_at), each.message_id) for each in page.messages]
            cursor = page.next_cursor
            if cursor is None:
                break
        assert [key for _, key in found] == [key for _, key in said]

    await in_database(look)


async def test_a_request_opens_bounded_bytes(live_database: None, cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    """Long messages fill a request sooner, and the next one goes on where it ended."""
    monkeypatch.setattr(search, "OPENED_BYTES_MAX", 200)  # each sealed message has 64 bytes

    def look() -> None:
        said = _many_conversations(cast)
        first = search.search_messages(cast.ann.user.pk, SearchMessages(query="find"))
        assert [each.message_id for each in first.messages] == [key for _, key in said[:4]]
        second = search.search_messages(cast.ann.user.pk, SearchMessages(query="find", before=first.next_cursor))
        assert [each.message_id for each in second.messages] == [key for _, key in said[4:8]]

    await in_database(look)


async def test_a_cursor_shows_nothing_of_others(server: LiveServer, cast: Cast) -> None:
    """Somebody else's cursor, or one of any time, is only a time to begin at."""
    async with AsyncExitStack() as stack:
        ann, mallory = await enter(stack, server, cast.ann, cast.mallory)
        for number in range(3):
            await ann.ask("send_message", recipientId=cast.bob.id, content=f"find {number}")
        page = await ann.ask("search_messages", query="find", limit=1)
        assert page["hasMore"] is True
        assert await found(mallory, "find", before=page["nextCursor"]) == []
        for year, texts in (("9999", ["find 2", "find 1", "find 0"]), ("0001", [])):
            cursor = cursor_of(f"{year}-12-31T00:00:00+00:00", uuid.UUID(int=0))
            assert await found(ann, "find", before=cursor) == texts
            assert await found(mallory, "find", before=cursor) == []


async def test_searches_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """As many as may go at once; the others follow in order, and who waits too long is told to come back."""
    monkeypatch.setattr(turns, "DEADLINE_SECONDS", 0.05)
    both, order = turns.Turns(most=2), list[int]()
    gate = asyncio.Event()

    async def go(number: int) -> None:
        async with both.one():
            order.append(number)
            await gate.wait()

    going = [asyncio.ensure_future(go(number)) for number in range(4)]
    await asyncio.sleep(0)
    assert order == [0, 1]
    outcomes = await asyncio.gather(*going[2:], return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [ServerBusy, ServerBusy]
    gate.set()
    await asyncio.gather(*going[:2])
    await go(4)
    assert order == [0, 1, 4]
