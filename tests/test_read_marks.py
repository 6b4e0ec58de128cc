"""Read positions, and conversations deleted for oneself."""

import asyncio
import uuid
from typing import Any

import pytest

from tests.cast import Cast
from tests.client import ChatClient, Frame
from tests.server import LiveServer


async def send(client: ChatClient, to: str, content: str = "Hello") -> Frame:
    """Send a message that has to be accepted."""
    reply = await client.ask("send_message", recipientId=to, content=content)
    assert reply["type"] == "message_sent", reply
    return reply


async def test_reading_moves_on_only(server: LiveServer, cast: Cast) -> None:
    """A position never moves back, nor beyond the end; own devices and the other person hear of each move."""
    async with (
        ChatClient(server.url, cast.ann.token) as ann,
        ChatClient(server.url, cast.bob.token) as bob,
        ChatClient(server.url, cast.bob.token) as phone,
    ):
        await ann.connect()
        await bob.connect()
        await phone.connect()
        sent = [await send(ann, cast.bob.id) for _ in range(3)]
        conversation = sent[0]["conversationId"]
        expected = {"type": "messages_read", "conversationId": conversation, "userId": cast.bob.id}
        for fields, reached in (
            ({"conversationId": conversation, "seq": 1}, 1),
            ({"messageId": sent[1]["messageId"]}, 2),
            ({"conversationId": conversation, "seq": 99}, 3),
        ):
            assert await bob.ask("mark_read", requestId="r", **fields) == {
                **expected,
                "readSeq": reached,
                "requestId": "r",
            }
            assert await ann.next(type="messages_read") == {**expected, "readSeq": reached}
            assert await phone.next(type="messages_read") == {**expected, "readSeq": reached}
        back = await bob.ask("mark_message_read", conversationId=conversation, seq=1)
        assert (back["readSeq"], back["changed"]) == (3, False)
        await ann.quiet()
        assert (await bob.ask("start_conversation", recipientId=cast.ann.id))["readSeq"] == 3
        await send(ann, cast.bob.id)
        await ann.ask("block_user", userId=cast.bob.id)
        assert (await bob.ask("mark_read", conversationId=conversation, seq=4))["readSeq"] == 4
        assert (await phone.next(type="messages_read"))["readSeq"] == 4
        await ann.quiet()


@pytest.mark.parametrize("fields", [{}, {"seq": 1}, {"conversationId": "0" * 8 + "-0000" * 3 + "-" + "0" * 12}])
async def test_what_is_read_has_to_be_named(server: LiveServer, cast: Cast, fields: dict[str, Any]) -> None:
    """Half a position is a validation error."""
    async with ChatClient(server.url, cast.ann.token) as ann:
        await ann.connect()
        assert (await ann.ask("mark_read", **fields))["code"] == "VALIDATION_ERROR"


async def test_strangers_mark_and_delete_nothing(server: LiveServer, cast: Cast) -> None:
    """What belongs to others is refused in the very words of what does not exist."""
    async with ChatClient(server.url, cast.ann.token) as ann, ChatClient(server.url, cast.mallory.token) as mallory:
        await ann.connect()
        await mallory.connect()
        sent = await send(ann, cast.bob.id)
        for kind, name, fields in REQUESTS:
            theirs = await mallory.ask(kind, requestId="r", **{name: sent[name]}, **fields)
            missing = await mallory.ask(kind, requestId="r", **{name: str(uuid.uuid4())}, **fields)
            assert theirs == missing
            assert theirs["code"] == "NOT_FOUND"


REQUESTS: list[tuple[str, str, dict[str, Any]]] = [
    ("mark_read", "conversationId", {"seq": 1}),
    ("mark_read", "messageId", {}),
    ("delete_conversation", "conversationId", {}),
]


async def test_a_deleted_conversation_comes_back_without_its_past(server: LiveServer, cast: Cast) -> None:
    """It is empty for who deleted it, on all devices, and whole for the other; old messages are skipped."""
    async with (
        ChatClient(server.url, cast.ann.token) as ann,
        ChatClient(server.url, cast.bob.token) as bob,
        ChatClient(server.url, cast.bob.token) as phone,
    ):
        await ann.connect()
        await bob.connect()
        await phone.connect()
        old = await send(ann, cast.bob.id)
        conversation = old["conversationId"]
        deleted = await bob.ask("delete_conversation", conversationId=conversation, requestId="r")
        expected = {"type": "conversation_deleted", "conversationId": conversation, "clearedSeq": 1}
        assert deleted == {**expected, "requestId": "r"}
        assert await phone.next(type="conversation_deleted") == expected
        await ann.quiet()
        assert (await bob.ask("get_messages", conversationId=conversation))["messages"] == []
        assert (await bob.ask("delete_message", messageId=old["messageId"]))["code"] == "NOT_FOUND"
        bob.take_all()
        await ann.ask("add_reaction", messageId=old["messageId"], emoji="x")
        assert (await bob.next())["type"] == "skipped"
        await send(ann, cast.bob.id, "New")
        assert (await bob.next(type="new_message"))["seq"] == 3
        page = await bob.ask("get_messages", conversationId=conversation)
        assert [message["content"] for message in page["messages"]] == ["New"]
        assert len((await ann.ask("get_messages", conversationId=conversation))["messages"]) == 2


async def test_the_other_person_learns_what_was_delivered(server: LiveServer, cast: Cast) -> None:
    """The sender is told how far the other has received, at most once a second, unless there is a block."""
    async with (
        ChatClient(server.url, cast.ann.token, ignoring=()) as ann,
        ChatClient(server.url, cast.bob.token) as bob,
    ):
        await ann.connect()
        await bob.connect()
        for number in range(3):
            sent = await ann.ask("send_message", recipientId=cast.bob.id, content=str(number))
        conversation_id = sent["conversationId"]
        told = [await ann.next(type="messages_delivered", seconds=5)]
        while told[-1]["deliveredSeq"] < sent["seq"]:
            told.append(await ann.next(type="messages_delivered", seconds=5))
        assert told[-1] == {
            "type": "messages_delivered",
            "conversationId": conversation_id,
            "userId": cast.bob.id,
            "deliveredSeq": 3,
        }
        assert len(told) <= 2
        (row,) = (await ann.ask("get_conversations"))["conversations"]
        assert row["peerDeliveredSeq"] == 3
        await bob.ask("send_message", recipientId=cast.ann.id, content="x")
        await bob.ask("block_user", userId=cast.ann.id)
        await asyncio.sleep(3)
        assert ann.take_all("messages_delivered") == []
