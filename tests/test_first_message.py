"""Two people talk: a message is confirmed, delivered, stored and found again."""

from tests.cast import Cast
from tests.client import ChatClient
from tests.server import LiveServer


async def test_a_message_reaches_the_other_person(server: LiveServer, cast: Cast) -> None:
    """The sender gets the reply, the recipient the event, both with the same message and seq."""
    async with ChatClient(server.url, cast.ann.token) as ann, ChatClient(server.url, cast.bob.token) as bob:
        await ann.connect()
        await bob.connect()
        reply = await ann.ask("send_message", recipientId=cast.bob.id, content="Hello", clientMessageId="c-1")
        event = await bob.next(type="new_message")
        assert reply["type"] == "message_sent"
        assert reply["message"] == event["message"]
        assert (reply["seq"], event["seq"]) == (1, 1)
        assert reply["recipientOnline"] is True
        assert reply["warning"] == "NOT_FOLLOWING"
        await ann.quiet()


async def test_a_message_waits_for_who_is_away(server: LiveServer, cast: Cast) -> None:
    """What was sent while someone was away is delivered when they connect, once."""
    async with ChatClient(server.url, cast.ann.token) as ann:
        await ann.connect()
        sent = [await ann.ask("send_message", recipientId=cast.bob.id, content=f"{n}") for n in range(5)]
    async with ChatClient(server.url, cast.bob.token) as bob:
        await bob.connect()
        assert [(await bob.next(type="new_message"))["message"]["content"] for _ in sent] == ["0", "1", "2", "3", "4"]
    async with ChatClient(server.url, cast.bob.token) as bob:
        await bob.connect()
        await bob.quiet()
