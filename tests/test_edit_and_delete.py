"""Editing and deleting messages: who may, what the others get, and what is left of them."""

import uuid
from datetime import timedelta
from typing import Any

from django.db.models import F

from messaging.models import Conversation, Interval, Mention, Message, Participant, Reaction
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


REQUESTS: list[tuple[str, dict[str, Any]]] = [
    ("update_message", {"content": "x"}),
    ("delete_message", {}),
    ("delete_message", {"forEveryone": True}),
]


async def test_deleting_for_everyone_leaves_a_tombstone(server: LiveServer, cast: Cast) -> None:
    """All get the event, live or later; nothing that was said is left, in replays and replies neither."""
    async with ChatClient(server.url, cast.ann.token) as ann, ChatClient(server.url, cast.ann.token) as phone:
        await ann.connect()
        await phone.connect()
        sent = await send(ann, cast.bob.id, f"Secret @{cast.bob.name}", clientMessageId="1")
        message_id = sent["messageId"]
        await send(ann, cast.bob.id, "Because", replyToMessageId=message_id)
        await ann.ask("add_reaction", messageId=message_id, emoji="+1")
        await ann.ask("update_message", messageId=message_id, content="Secrets")
        deleted = await ann.ask("delete_message", messageId=message_id, forEveryone=True)
        assert (deleted["type"], deleted["seq"], deleted["forEveryone"]) == ("message_deleted", 5, True)
        assert await phone.next(type="message_deleted") == without(deleted)
        async with ChatClient(server.url, cast.bob.token) as bob:
            await bob.connect()
            events = bob.take_all()
        assert [event["type"] for event in events] == [
            "new_message",
            "new_message",
            "reaction_added",
            "message_edited",
            "message_deleted",
        ]
        tombstone = events[0]["message"]
        assert (tombstone["isDeleted"], tombstone["content"], tombstone["mentions"]) == (True, None, [])
        assert events[1]["message"]["replyTo"] == {"messageId": message_id, "senderId": cast.ann.id}
        assert events[3]["content"] is None
        assert events[4] == without(deleted)
        assert "Secret" not in str(events)
        page = (await ann.ask("get_messages", recipientId=cast.bob.id))["messages"]
        assert (page[0]["isDeleted"], page[0]["content"], page[0]["reactions"]) == (True, None, [])
        for kind, fields in (("delete_message", {"forEveryone": True}), ("update_message", {"content": "x"})):
            assert (await ann.ask(kind, messageId=message_id, **fields))["code"] == "CONFLICT"
        again = await send(ann, cast.bob.id, f"Secret @{cast.bob.name}", clientMessageId="1")
        assert (again["messageId"], again["message"]["isDeleted"]) == (message_id, True)
        other = await ann.ask("send_message", recipientId=cast.bob.id, content="Other", clientMessageId="1")
        assert other["code"] == "IDEMPOTENCY_MISMATCH"
    row = await in_database(lambda: Message.objects.get(pk=message_id))
    assert row.sealed_content is None
    assert not await in_database(Reaction.objects.filter(message_id=message_id).exists)
    assert not await in_database(Mention.objects.filter(conversation_id=sent["conversationId"]).exists)


async def test_who_may_delete_for_everyone(server: LiveServer, cast: Cast) -> None:
    """The author, also while blocked; not the recipient."""
    async with ChatClient(server.url, cast.ann.token) as ann, ChatClient(server.url, cast.bob.token) as bob:
        await ann.connect()
        await bob.connect()
        message_id = (await send(ann, cast.bob.id))["messageId"]
        theirs = await bob.ask("delete_message", messageId=message_id, forEveryone=True)
        assert theirs["code"] == "INSUFFICIENT_PERMISSIONS"
        await bob.ask("block_user", userId=cast.ann.id)
        assert (await ann.ask("delete_message", messageId=message_id, forEveryone=True))["seq"] == 2
        assert (await bob.next(type="message_deleted"))["messageId"] == message_id


async def test_deleting_for_oneself(server: LiveServer, cast: Cast) -> None:
    """It is gone for this user on all devices, and for nobody else; its later events are skipped."""
    async with ChatClient(server.url, cast.ann.token) as ann, ChatClient(server.url, cast.bob.token) as bob:
        await ann.connect()
        await bob.connect()
        message_id = (await send(ann, cast.bob.id))["messageId"]
        event = await bob.next(type="new_message")
        async with ChatClient(server.url, cast.bob.token) as phone:
            await phone.connect()
            deleted = await bob.ask("delete_message", messageId=message_id)
            assert (deleted["type"], deleted["forEveryone"]) == ("message_deleted", False)
            assert "seq" not in deleted
            assert await phone.next(type="message_deleted") == without(deleted)
        again = await bob.ask("delete_message", messageId=message_id, requestId="r")
        assert again == await bob.ask("delete_message", messageId=str(uuid.uuid4()), requestId="r")
        assert (await bob.ask("get_messages", recipientId=cast.ann.id))["messages"] == []
        await ann.quiet()
        assert len((await ann.ask("get_messages", recipientId=cast.bob.id))["messages"]) == 1
        await ann.ask("update_message", messageId=message_id, content="Hush")
        place = {"conversationId": event["conversationId"]}
        assert await bob.next(type="skipped") == {"type": "skipped", **place, "seq": 2}
        await bob.tell("sync", cursors={event["conversationId"]: 0})
        events = await bob.until(type="sync_complete")
        assert events[:-1] == [{"type": "skipped", **place, "seq": seq} for seq in (1, 2)]


async def test_admins_of_a_group_delete_what_others_wrote(server: LiveServer, cast: Cast) -> None:
    """An admin of the group deletes a member's message for everyone, another member does not; frames name the group."""
    group_id = await in_database(lambda: new_group(cast))
    async with ChatClient(server.url, cast.ann.token) as ann, ChatClient(server.url, cast.bob.token) as bob:
        await ann.connect()
        await bob.connect()
        sent = await ann.ask("send_message", conversationId=group_id, content="Hello @all")
        assert sent["message"]["mentions"] == []
        assert (await bob.ask("delete_message", messageId=sent["messageId"], forEveryone=True))["code"] == (
            "INSUFFICIENT_PERMISSIONS"
        )
        async with ChatClient(server.url, cast.carl.token) as carl:
            await carl.connect()
            deleted = await carl.ask("delete_message", messageId=sent["messageId"], forEveryone=True)
            assert (deleted["groupId"], deleted["seq"]) == (group_id, 2)
            own = await carl.ask("send_message", conversationId=group_id, content="Hello")
            edited = await carl.ask("update_message", messageId=own["messageId"], content="Hello @everyone")
            assert edited["mentions"] == [{"type": "everyone"}]
        assert await ann.next(type="message_deleted") == without(deleted)
        assert await ann.next(type="message_edited") == without(edited)


def new_group(cast: Cast) -> str:
    """Make a group of ann and bob whose admin is carl."""
    group = Conversation.objects.create(kind=Conversation.Kind.GROUP)
    for person in (cast.ann, cast.bob, cast.carl):
        place = Participant.objects.create(conversation=group, user=person.user, is_admin=person is cast.carl)
        Interval.objects.create(participant=place, from_seq=1)
    return str(group.pk)
