"""Typing: who hears of it, how often, and how long."""

import asyncio
import uuid

from messaging.models import Conversation, Interval, Participant
from tests.cast import Cast
from tests.client import ChatClient, Frame
from tests.database import in_database
from tests.server import LiveServer


async def begin(client: ChatClient, to: str) -> str:
    """Open a direct conversation and return its id."""
    conversation_id: str = (await client.ask("start_conversation", recipientId=to))["conversationId"]
    return conversation_id


def typing(conversation_id: str, user_id: str, *, is_typing: bool) -> Frame:
    """Return what the others get."""
    return {"type": "user_typing", "conversationId": conversation_id, "userId": user_id, "isTyping": is_typing}


async def test_the_other_person_sees_it(server: LiveServer, cast: Cast) -> None:
    """On and off are relayed; on again within a second is dropped, off never is; nothing is answered."""
    async with ChatClient(server.url, cast.ann.token) as ann, ChatClient(server.url, cast.bob.token) as bob:
        await ann.connect()
        await bob.connect()
        conversation = await begin(ann, cast.bob.id)
        for is_typing in (True, True, False, True, False):
            await ann.tell("typing", conversationId=conversation, isTyping=is_typing)
        for is_typing in (True, False, False):
            assert await bob.next() == typing(conversation, cast.ann.id, is_typing=is_typing)
        await bob.quiet()
        await ann.quiet()
        await asyncio.sleep(1)
        await ann.tell("typing", recipientId=cast.bob.id, isTyping=True)
        assert await bob.next() == typing(conversation, cast.ann.id, is_typing=True)


async def test_it_ends_by_itself(server: LiveServer, cast: Cast) -> None:
    """The server turns it off after six seconds, also when who typed has gone."""
    async with ChatClient(server.url, cast.bob.token) as bob:
        await bob.connect()
        async with ChatClient(server.url, cast.ann.token) as ann:
            await ann.connect()
            conversation = await begin(ann, cast.bob.id)
            await ann.tell("typing", conversationId=conversation, isTyping=True)
            assert (await bob.next())["isTyping"] is True
        started = asyncio.get_running_loop().time()
        assert await bob.next() == typing(conversation, cast.ann.id, is_typing=False)
        assert 5 < asyncio.get_running_loop().time() - started < 8


async def test_who_does_not_hear_of_it(server: LiveServer, cast: Cast) -> None:
    """Nobody who is blocked; strangers are refused in the words of a missing conversation."""
    async with (
        ChatClient(server.url, cast.ann.token) as ann,
        ChatClient(server.url, cast.bob.token) as bob,
        ChatClient(server.url, cast.mallory.token) as mallory,
    ):
        await ann.connect()
        await bob.connect()
        await mallory.connect()
        conversation = await begin(ann, cast.bob.id)
        theirs = await mallory.ask("typing", conversationId=conversation, isTyping=True, requestId="r")
        missing = await mallory.ask("typing", conversationId=str(uuid.uuid4()), isTyping=True, requestId="r")
        assert theirs == missing
        assert theirs["code"] == "NOT_FOUND"
        assert (await ann.ask("typing", isTyping=True))["code"] == "VALIDATION_ERROR"
        await ann.tell("typing", recipientId=cast.carl.id, isTyping=True)  # there is no conversation yet
        await bob.ask("block_user", userId=cast.ann.id)
        refused = await ann.ask("typing", conversationId=conversation, isTyping=True)
        assert refused["code"] == "USER_BLOCKED"
        await bob.quiet()


async def test_typing_in_groups_and_communities(server: LiveServer, cast: Cast) -> None:
    """The members of a group hear of it but those with a block; in communities nobody does."""
    group, community = await in_database(lambda: [make(cast, kind) for kind in ("group", "community")])
    async with (
        ChatClient(server.url, cast.ann.token) as ann,
        ChatClient(server.url, cast.bob.token) as bob,
        ChatClient(server.url, cast.carl.token) as carl,
    ):
        await ann.connect()
        await bob.connect()
        await carl.connect()
        await carl.ask("block_user", userId=cast.ann.id)
        await ann.tell("typing", groupId=community, isTyping=True)
        await ann.tell("typing", groupId=group, isTyping=True)
        assert await bob.next() == typing(group, cast.ann.id, is_typing=True)
        await bob.quiet()
        await carl.quiet()


def make(cast: Cast, kind: str) -> str:
    """Make a group of three."""
    group = Conversation.objects.create(kind=kind)
    for person in (cast.ann, cast.bob, cast.carl):
        place = Participant.objects.create(conversation=group, user=person.user)
        Interval.objects.create(participant=place, from_seq=1)
    return str(group.pk)
