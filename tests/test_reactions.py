"""Reactions: once for each emoji and user, for all to see."""

import uuid

from tests.cast import Cast
from tests.client import ChatClient, Frame
from tests.server import LiveServer


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
