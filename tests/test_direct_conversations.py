"""Direct conversations: starting, sending, paging, devices, blocks, and what each may see."""

import asyncio
import uuid
from typing import Any

from messaging.models import Message
from tests.cast import Cast
from tests.client import ChatClient
from tests.database import in_database
from tests.server import LiveServer


async def send(client: ChatClient, to: str, content: str = "Hello", **fields: Any) -> dict[str, Any]:
    """Send a message that has to be accepted."""
    reply = await client.ask("send_message", recipientId=to, content=content, **fields)
    assert reply["type"] == "message_sent", reply
    return reply


async def test_starting_finds_the_one_conversation(server: LiveServer, cast: Cast) -> None:
    """Both people open the same conversation, and see its newest page."""
    async with ChatClient(server.url, cast.ann.token) as ann, ChatClient(server.url, cast.bob.token) as bob:
        await ann.connect()
        await bob.connect()
        started = await ann.ask("start_conversation", recipientId=cast.bob.id)
        assert (started["type"], started["messages"], started["lastSeq"]) == ("conversation_started", [], 0)
        sent = await send(ann, cast.bob.id)
        again = await bob.ask("start_conversation", recipientId=cast.ann.id)
        assert again["conversationId"] == started["conversationId"] == sent["conversationId"]
        assert [message["content"] for message in again["messages"]] == ["Hello"]
        reply = await bob.ask("send_message", conversationId=sent["conversationId"], content="Hi")
        assert reply["seq"] == 2
        assert (await ann.next(type="new_message"))["seq"] == 2


async def test_who_cannot_be_written_to(server: LiveServer, cast: Cast) -> None:
    """Oneself is a validation error; unknown, malformed and inactive users are not found, in the same words."""
    cast.carl.user.is_active = False
    await in_database(cast.carl.user.save)
    async with ChatClient(server.url, cast.ann.token) as ann:
        await ann.connect()
        for request in ({"content": "x"}, {}):
            kind = "send_message" if request else "start_conversation"
            own = await ann.ask(kind, recipientId=cast.ann.id, **request)
            assert (own["code"], own["field"]) == ("VALIDATION_ERROR", "recipientId")
            unknown = [
                await ann.ask(kind, recipientId=user, **request)
                for user in ("999999999", "nobody", "9" * 30, cast.carl.id)
            ]
            assert {(each["code"], each["message"]) for each in unknown} == {("NOT_FOUND", unknown[0]["message"])}


async def test_content_is_trimmed_and_bounded(server: LiveServer, cast: Cast) -> None:
    """Outer white space goes, everything else comes back byte for byte, 1 to 5,000 characters."""
    async with ChatClient(server.url, cast.ann.token) as ann:
        await ann.connect()
        odd = "a\u0301 \u200d\U0001f468 \\u0000 \u202e"
        assert (await send(ann, cast.bob.id, f" \n{odd}\t "))["message"]["content"] == odd
        for content in ("  \n ", "x" * 5_001):
            refused = await ann.ask("send_message", recipientId=cast.bob.id, content=content)
            assert (refused["code"], refused["field"]) == ("VALIDATION_ERROR", "content")
        assert (await send(ann, cast.bob.id, "x" * 5_000))["seq"] == 2


async def test_a_repeated_send_is_one_message(server: LiveServer, cast: Cast) -> None:
    """The same clientMessageId answers with the first message; with anything else in it, it is a mismatch."""
    async with ChatClient(server.url, cast.ann.token) as ann, ChatClient(server.url, cast.bob.token) as bob:
        await ann.connect()
        await bob.connect()
        first = await send(ann, cast.bob.id, clientMessageId="1")
        second = await send(ann, cast.bob.id, clientMessageId="1")
        assert (second["messageId"], second["seq"], second["duplicate"]) == (first["messageId"], 1, True)
        assert second["message"] == first["message"]
        for fields in (
            {"recipientId": cast.bob.id, "content": "Other"},
            {"recipientId": cast.carl.id, "content": "Hello"},
            {"recipientId": cast.bob.id, "content": "Hello", "replyToMessageId": first["messageId"]},
        ):
            assert (await ann.ask("send_message", clientMessageId="1", **fields))["code"] == "IDEMPOTENCY_MISMATCH"
        assert (await bob.next(type="new_message"))["seq"] == 1
        await bob.quiet()


async def test_twins_in_flight_are_one_message(server: LiveServer, cast: Cast) -> None:
    """The same send ten times at once, on two connections, stores one message and answers all."""
    async with ChatClient(server.url, cast.ann.token) as one, ChatClient(server.url, cast.ann.token) as two:
        await one.connect()
        await two.connect()
        replies = await asyncio.gather(
            *(send(each, cast.bob.id, clientMessageId="twin") for each in (one, two) for _ in range(5))
        )
    assert {reply["seq"] for reply in replies} == {1}
    assert sum("duplicate" not in reply for reply in replies) == 1
    assert await in_database(Message.objects.filter(sender=cast.ann.user).count) == 1


async def test_replies_quote_what_the_reader_may_see(server: LiveServer, cast: Cast) -> None:
    """A reply carries an excerpt; a target elsewhere or nowhere is not found."""
    async with ChatClient(server.url, cast.ann.token) as ann, ChatClient(server.url, cast.bob.token) as bob:
        await ann.connect()
        await bob.connect()
        first = await send(ann, cast.bob.id, "y" * 150)
        elsewhere = await send(ann, cast.carl.id)
        reply = await send(bob, cast.ann.id, "Indeed", replyToMessageId=first["messageId"])
        assert reply["message"]["replyTo"] == {
            "messageId": first["messageId"],
            "senderId": cast.ann.id,
            "excerpt": "y" * 100,
        }
        for target in (elsewhere["messageId"], str(uuid.uuid4())):
            refused = await bob.ask("send_message", recipientId=cast.ann.id, content="x", replyToMessageId=target)
            assert (refused["code"], refused["field"]) == ("NOT_FOUND", "replyToMessageId")
        page = await ann.ask("get_messages", recipientId=cast.bob.id)
        assert page["messages"][1]["replyTo"]["excerpt"] == "y" * 100


async def test_pages_run_both_ways(server: LiveServer, cast: Cast) -> None:
    """Pages are chronological and run by before, after and offset, with a total when asked for."""
    async with ChatClient(server.url, cast.ann.token) as ann:
        await ann.connect()
        for number in range(1, 8):
            await send(ann, cast.bob.id, str(number))

        async def page(**fields: Any) -> tuple[list[int], bool, int | None]:
            reply = await ann.ask("get_messages", recipientId=cast.bob.id, **fields)
            return [message["seq"] for message in reply["messages"]], reply["hasMore"], reply.get("total")

        assert await page(limit=3) == ([5, 6, 7], True, None)
        assert await page(limit=3, before=5) == ([2, 3, 4], True, None)
        assert await page(limit=3, before=2) == ([1], False, None)
        assert await page(limit=3, after=0) == ([1, 2, 3], True, None)
        assert await page(limit=3, after=5) == ([6, 7], False, None)
        assert await page(limit=3, offset=6, includeTotal=True) == ([1], False, 7)
        assert (await ann.ask("get_messages", recipientId=cast.carl.id))["messages"] == []


async def test_strangers_find_nothing(server: LiveServer, cast: Cast) -> None:
    """What belongs to others is refused in the very words of what does not exist."""
    async with ChatClient(server.url, cast.ann.token) as ann, ChatClient(server.url, cast.mallory.token) as mallory:
        await ann.connect()
        await mallory.connect()
        conversation = (await send(ann, cast.bob.id))["conversationId"]
        for kind, fields in (("get_messages", {}), ("send_message", {"content": "x"})):
            theirs = await mallory.ask(kind, conversationId=conversation, requestId="r", **fields)
            missing = await mallory.ask(kind, conversationId=str(uuid.uuid4()), requestId="r", **fields)
            assert theirs == missing
            assert theirs["code"] == "NOT_FOUND"
        assert (await ann.ask("get_messages", groupId=conversation))["code"] == "NOT_FOUND"
        await mallory.tell("sync", cursors={conversation: 0})
        assert (await mallory.next(type="sync_complete"))["delivered"] == 0


async def test_every_device_gets_everything(server: LiveServer, cast: Cast) -> None:
    """The connection that sends gets the reply in the event's place, the user's others get the event."""
    async with (
        ChatClient(server.url, cast.ann.token) as ann,
        ChatClient(server.url, cast.ann.token) as tablet,
        ChatClient(server.url, cast.bob.token) as bob,
    ):
        for client in (ann, tablet, bob):
            await client.connect()
        await send(ann, cast.bob.id, "1")
        await send(bob, cast.ann.id, "2")
        assert [(await tablet.next())["seq"] for _ in range(2)] == [1, 2]
        assert (await ann.next())["seq"] == 2
        assert (await bob.next())["seq"] == 1
        for client in (ann, tablet, bob):
            await client.quiet()


async def test_blocks_work_both_ways(server: LiveServer, cast: Cast) -> None:
    """A block stops messages in both directions until it is lifted; the user's other connections are told."""
    async with (
        ChatClient(server.url, cast.ann.token) as ann,
        ChatClient(server.url, cast.ann.token) as tablet,
        ChatClient(server.url, cast.bob.token) as bob,
    ):
        for client in (ann, tablet, bob):
            await client.connect()
        assert await ann.ask("block_user", userId=cast.bob.id, requestId="b") == {
            "type": "user_blocked",
            "userId": cast.bob.id,
            "requestId": "b",
        }
        assert (await tablet.next())["type"] == "user_blocked"
        for client, other in ((ann, cast.bob), (bob, cast.ann)):
            assert (await client.ask("send_message", recipientId=other.id, content="x"))["code"] == "USER_BLOCKED"
            assert (await client.ask("start_conversation", recipientId=other.id))["code"] == "USER_BLOCKED"
        blocked = await ann.ask("get_blocked_users")
        assert [user["userId"] for user in blocked["users"]] == [cast.bob.id]
        assert (await ann.ask("unblock_user", userId=cast.bob.id))["type"] == "user_unblocked"
        assert (await tablet.next())["type"] == "user_unblocked"
        await send(bob, cast.ann.id)
        assert (await ann.ask("block_user", userId=cast.ann.id))["code"] == "VALIDATION_ERROR"
        assert (await ann.ask("unblock_user", userId="nobody"))["code"] == "NOT_FOUND"


async def test_following_is_only_a_warning(server: LiveServer, cast: Cast) -> None:
    """Without following, the reply warns; with it, it does not."""
    async with ChatClient(server.url, cast.ann.token) as ann:
        await ann.connect()
        assert (await send(ann, cast.bob.id))["warning"] == "NOT_FOLLOWING"
        assert (await ann.ask("follow_user", userId=cast.bob.id))["type"] == "user_followed"
        assert "warning" not in await send(ann, cast.bob.id)
        assert (await ann.ask("unfollow_user", userId=cast.bob.id))["type"] == "user_unfollowed"
        assert (await send(ann, cast.bob.id))["warning"] == "NOT_FOLLOWING"


def flip_a_byte(message_id: str) -> None:
    """Change one bit of what is stored of a message."""
    message = Message.objects.get(pk=message_id)
    sealed = bytearray(message.sealed_content or b"")
    sealed[20] ^= 1
    Message.objects.filter(pk=message_id).update(sealed_content=bytes(sealed))


async def test_a_row_that_was_changed_is_unreadable(server: LiveServer, cast: Cast) -> None:
    """A flipped byte is refused and logged; everything around it still loads."""
    async with ChatClient(server.url, cast.ann.token) as ann:
        await ann.connect()
        sent = [await send(ann, cast.bob.id, str(number)) for number in range(3)]
        await in_database(lambda: flip_a_byte(sent[1]["messageId"]))
        page = await ann.ask("get_messages", recipientId=cast.bob.id)
        assert [each["content"] for each in page["messages"]] == ["0", None, "2"]
        assert page["messages"][1]["isUnreadable"] is True
    assert f"message {sent[1]['messageId']} cannot be decrypted" in server.log
