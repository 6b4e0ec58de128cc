"""Reactions: once for each emoji and user, for all to see."""

import uuid

import pytest

from messaging.delivery import rendering
from messaging.models import Reaction
from messaging.services.reactions import EMOJIS_MAX
from tests.cast import Cast
from tests.client import ChatClient, Frame
from tests.database import in_database
from tests.server import LiveServer
from tests.test_engine import Engine, engine

__all__ = ["engine"]  # a fixture


async def send(client: ChatClient, to: str) -> str:
    """Send a message and return its id."""
    message_id: str = (await client.ask("send_message", recipientId=to, content="Hello"))["messageId"]
    return message_id


def without_id(frame: Frame) -> Frame:
    """Return a reply as others get it."""
    return {name: value for name, value in frame.items() if name != "requestId"}


async def test_a_reaction_reaches_everybody_once(server: LiveServer, cast: Cast) -> None:
    """Adding twice, or removing what is not there, changes nothing; the others get each change, also later."""
    async with ChatClient(server.url, cast.ann.token) as ann, ChatClient(server.url, cast.ann.token) as phone:
        await ann.connect()
        await phone.connect()
        message_id = await send(ann, cast.bob.id)
        added = await ann.ask("add_reaction", messageId=message_id, emoji="👍")
        assert (added["type"], added["seq"], added["userId"]) == ("reaction_added", 2, cast.ann.id)
        again = await ann.ask("add_reaction", messageId=message_id, emoji="👍")
        assert again["changed"] is False
        assert "seq" not in again
        async with ChatClient(server.url, cast.bob.token) as bob:
            await bob.connect()
            assert (await bob.next(type="new_message"))["message"]["reactions"] == []
            assert await bob.next(type="reaction_added") == without_id(added)
            await bob.ask("add_reaction", messageId=message_id, emoji="👍")
            await bob.ask("add_reaction", messageId=message_id, emoji="❤️")
            message = (await bob.ask("get_messages", recipientId=cast.ann.id))["messages"][0]
            assert message["reactions"] == [
                {"emoji": "👍", "count": 2, "userIds": [cast.ann.id, cast.bob.id]},
                {"emoji": "❤️", "count": 1, "userIds": [cast.bob.id]},
            ]
        removed = await ann.ask("remove_reaction", messageId=message_id, emoji="👍")
        assert (removed["type"], removed["seq"]) == ("reaction_removed", 5)
        gone = await ann.ask("remove_reaction", messageId=message_id, emoji="👍")
        assert (gone["changed"], "seq" in gone) == (False, False)
        events = [without_id(await phone.next()) for _ in range(5)]
        assert [event["seq"] for event in events] == [1, 2, 3, 4, 5]
        assert events[1] == without_id(added)
        assert events[4] == without_id(removed)
        await phone.tell("sync", cursors={added["conversationId"]: 1})
        assert (await phone.until(type="sync_complete"))[:-1] == events[1:]


async def test_who_may_not_react(server: LiveServer, cast: Cast) -> None:
    """Nobody to a deleted message, nobody while blocked, and strangers to nothing."""
    async with ChatClient(server.url, cast.ann.token) as ann, ChatClient(server.url, cast.mallory.token) as mallory:
        await ann.connect()
        await mallory.connect()
        message_id = await send(ann, cast.bob.id)
        for kind in ("add_reaction", "remove_reaction"):
            theirs = await mallory.ask(kind, messageId=message_id, emoji="x", requestId="r")
            assert theirs == await mallory.ask(kind, messageId=str(uuid.uuid4()), emoji="x", requestId="r")
            assert theirs["code"] == "NOT_FOUND"
            for emoji in ("", "x" * 33):
                refused = await ann.ask(kind, messageId=message_id, emoji=emoji)
                assert (refused["code"], refused["field"]) == ("VALIDATION_ERROR", "emoji")
            await ann.ask("block_user", userId=cast.bob.id)
            assert (await ann.ask(kind, messageId=message_id, emoji="x"))["code"] == "USER_BLOCKED"
            await ann.ask("unblock_user", userId=cast.bob.id)
        await ann.ask("delete_message", messageId=message_id, forEveryone=True)
        for kind in ("add_reaction", "remove_reaction"):
            assert (await ann.ask(kind, messageId=message_id, emoji="x"))["code"] == "CONFLICT"


async def test_a_message_bears_fifty_emojis(server: LiveServer, cast: Cast) -> None:
    """One more is refused; those that are there may be chosen by anybody, and their place be taken when they go."""
    async with ChatClient(server.url, cast.ann.token) as ann, ChatClient(server.url, cast.bob.token) as bob:
        await ann.connect()
        await bob.connect()
        message_id = await send(ann, cast.bob.id)
        rows = [Reaction(message_id=message_id, user=cast.ann.user, emoji=str(number)) for number in range(EMOJIS_MAX)]
        await in_database(lambda: Reaction.objects.bulk_create(rows))
        refused = await bob.ask("add_reaction", messageId=message_id, emoji="another")
        assert refused["code"] == "CONFLICT"
        assert (await bob.ask("add_reaction", messageId=message_id, emoji="7"))["type"] == "reaction_added"
        await ann.ask("remove_reaction", messageId=message_id, emoji="3")
        assert (await bob.ask("add_reaction", messageId=message_id, emoji="another"))["type"] == "reaction_added"


async def test_of_a_crowd_the_first_are_named(cast: Cast, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """All are counted, whoever is named."""
    monkeypatch.setattr(rendering, "REACTORS_SHOWN_MAX", 2)
    message_id = uuid.UUID((await engine.send(engine.caller(cast.ann), cast.bob)).message_id)
    people = [cast.bob, cast.carl, cast.ann]
    rows = [Reaction(message_id=message_id, user=person.user, emoji="+") for person in people]
    rows.append(Reaction(message_id=message_id, user=cast.ann.user, emoji="-"))
    await in_database(lambda: Reaction.objects.bulk_create(rows))
    found = (await in_database(lambda: rendering.reactions_to([message_id])))[message_id]
    assert [(each.emoji, each.count, each.user_ids) for each in found] == [
        ("+", 3, [cast.bob.id, cast.carl.id]),
        ("-", 1, [cast.ann.id]),
    ]
