"""Finding messages by their words, and by nothing that one may not see."""

import logging
from contextlib import AsyncExitStack
from typing import Any

import pytest

from messaging.models import Message
from messaging.schemas.messages import SearchMessages
from messaging.services import search
from tests.cast import Cast
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
