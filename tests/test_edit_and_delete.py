"""Editing and deleting messages: who may, what the others get, and what is left of them."""

import uuid
from datetime import timedelta
from typing import Any

from django.db.models import F

from messaging.models import Mention, Message
from tests.cast import Cast
from tests.client import ChatClient, Frame
from tests.database import in_database
from tests.server import LiveServer


async def send(client: ChatClient, to: str, content: str = "Hello", **fields: Any) -> Frame:
    """Send a message that has to be accepted."""
    reply = await client.ask("send_message", recipientId=to, content=content, **fields)
    assert reply["type"] == "message_sent", reply
    return reply


def without(frame: Frame, *names: str) -> Frame:
    """Return a frame without the fields that only a reply has."""
    return {name: value for name, value in frame.items() if name not in {"requestId", *names}}


async def sealed(message_id: str) -> bytes:
    """Return what the database holds of a message's text."""
    return bytes(await in_database(lambda: Message.objects.get(pk=message_id).sealed_content or b""))


async def test_an_edit_reaches_everybody(server: LiveServer, cast: Cast) -> None:
    """The reply equals the event of the other devices and people, now and when they come back; the IV is a new one."""
    async with ChatClient(server.url, cast.ann.token) as ann, ChatClient(server.url, cast.ann.token) as phone:
        await ann.connect()
        await phone.connect()
        sent = await send(ann, cast.bob.id, f"Hi @{cast.bob.name}")
        before = await sealed(sent["messageId"])
        edited = await ann.ask("update_message", messageId=sent["messageId"], content=" Bye @" + cast.bob.name + ". ")
        assert (edited["type"], edited["seq"], edited["content"]) == ("message_edited", 2, f"Bye @{cast.bob.name}.")
        assert edited["mentions"] == [{"type": "user", "userId": cast.bob.id, "username": cast.bob.name}]
        assert await phone.next(type="message_edited") == without(edited)
        assert (await sealed(sent["messageId"]))[:16] != before[:16]
        async with ChatClient(server.url, cast.bob.token) as bob:
            await bob.connect()
            message = (await bob.next(type="new_message"))["message"]
            assert (message["content"], message["isEdited"]) == (edited["content"], True)
            assert message["editedAt"] == edited["editedAt"]
            assert await bob.next(type="message_edited") == without(edited)
        again = await ann.ask("update_message", messageId=sent["messageId"], content="Nobody")
        assert (again["seq"], again["mentions"]) == (3, [])
        assert not await in_database(Mention.objects.filter(conversation_id=sent["conversationId"]).exists)
        await ann.quiet()


async def test_who_may_not_edit(server: LiveServer, cast: Cast) -> None:
    """Not the recipient, not once the window has closed, not while blocked, and nothing empty."""
    async with ChatClient(server.url, cast.ann.token) as ann, ChatClient(server.url, cast.bob.token) as bob:
        await ann.connect()
        await bob.connect()
        message_id = (await send(ann, cast.bob.id))["messageId"]
        theirs = await bob.ask("update_message", messageId=message_id, content="x")
        assert theirs["code"] == "INSUFFICIENT_PERMISSIONS"
        empty = await ann.ask("update_message", messageId=message_id, content="  ")
        assert (empty["code"], empty["field"]) == ("VALIDATION_ERROR", "content")
        await bob.ask("block_user", userId=cast.ann.id)
        assert (await ann.ask("update_message", messageId=message_id, content="x"))["code"] == "USER_BLOCKED"
        await bob.ask("unblock_user", userId=cast.ann.id)
        old = Message.objects.filter(pk=message_id)
        await in_database(lambda: old.update(created_at=F("created_at") - timedelta(seconds=301)))
        assert (await ann.ask("update_message", messageId=message_id, content="x"))["code"] == "EDIT_WINDOW_EXPIRED"
        await bob.next(type="new_message")
        await bob.quiet()


async def test_an_edited_message_keeps_its_client_id(server: LiveServer, cast: Cast) -> None:
    """Repeating the first send after an edit answers with the message as it is now."""
    async with ChatClient(server.url, cast.ann.token) as ann:
        await ann.connect()
        sent = await send(ann, cast.bob.id, "First", clientMessageId="1")
        await ann.ask("update_message", messageId=sent["messageId"], content="Second")
        again = await send(ann, cast.bob.id, "First", clientMessageId="1")
        assert (again["messageId"], again["duplicate"], again["message"]["content"]) == (
            sent["messageId"],
            True,
            "Second",
        )


async def test_strangers_can_touch_no_message(server: LiveServer, cast: Cast) -> None:
    """A message of others is refused in the very words of a missing one."""
    async with ChatClient(server.url, cast.ann.token) as ann, ChatClient(server.url, cast.mallory.token) as mallory:
        await ann.connect()
        await mallory.connect()
        message_id = (await send(ann, cast.bob.id))["messageId"]
        for kind, fields in REQUESTS:
            theirs = await mallory.ask(kind, messageId=message_id, requestId="r", **fields)
            missing = await mallory.ask(kind, messageId=str(uuid.uuid4()), requestId="r", **fields)
            assert theirs == missing
            assert theirs["code"] == "NOT_FOUND"


REQUESTS: list[tuple[str, dict[str, Any]]] = [("update_message", {"content": "x"})]
