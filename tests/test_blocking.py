"""Blocking: what it refuses and hides, both ways, and everything that it leaves as it is."""

from __future__ import annotations

import asyncio
import uuid
from contextlib import AsyncExitStack
from typing import Any

import pytest

from messaging import services
from messaging.delivery import doors
from messaging.errors import Conflict
from tests.cast import Cast
from tests.client import ChatClient, Frame
from tests.server import LiveServer
from tests.test_groups import create, enter

BLOCKED, FINE = "USER_BLOCKED", "fine"
HERE, GROUP, OWN, THEIRS, IN_GROUP, OTHER = "<direct>", "<group>", "<own>", "<theirs>", "<in group>", "<other>"

# What ann and bob ask for while there is a block between them, and how it is answered to either.
REQUESTS: list[tuple[str, dict[str, Any], str]] = [
    ("send_message", {"recipientId": OTHER, "content": "x"}, BLOCKED),
    ("send_message", {"conversationId": HERE, "content": "x"}, BLOCKED),
    ("start_conversation", {"recipientId": OTHER}, BLOCKED),
    ("typing", {"conversationId": HERE, "isTyping": True}, BLOCKED),
    ("typing", {"recipientId": OTHER, "isTyping": True}, BLOCKED),
    ("update_message", {"messageId": OWN, "content": "x"}, BLOCKED),
    ("add_reaction", {"messageId": THEIRS, "emoji": "+"}, BLOCKED),
    ("remove_reaction", {"messageId": THEIRS, "emoji": "+"}, BLOCKED),
    ("create_group", {"name": "x", "memberIds": [OTHER]}, BLOCKED),
    ("add_group_member", {"groupId": "<own group>", "userId": OTHER}, BLOCKED),
    ("get_messages", {"conversationId": HERE}, FINE),
    ("get_messages", {"recipientId": OTHER}, FINE),
    ("get_conversations", {}, FINE),
    ("search_messages", {"query": "hello"}, FINE),
    ("mark_read", {"conversationId": HERE, "seq": 1}, FINE),
    ("get_presence", {"userIds": [OTHER]}, FINE),
    ("follow_user", {"userId": OTHER}, FINE),
    ("unfollow_user", {"userId": OTHER}, FINE),
    ("send_group_message", {"groupId": GROUP, "content": "x"}, FINE),
    ("add_reaction", {"messageId": IN_GROUP, "emoji": "+"}, FINE),
    ("delete_message", {"messageId": THEIRS}, FINE),
    ("delete_message", {"messageId": OWN, "forEveryone": True}, FINE),
    ("delete_conversation", {"conversationId": HERE}, FINE),
    ("block_user", {"userId": OTHER}, FINE),
]


def _filled(value: Any, names: dict[str, str]) -> Any:
    if isinstance(value, list):
        return [_filled(each, names) for each in value]
    return names.get(value, value) if isinstance(value, str) else value


@pytest.mark.parametrize("who", ["blocker", "blocked"])
async def test_what_a_block_refuses(server: LiveServer, cast: Cast, who: str) -> None:
    """It stands both ways before anything reaches the other person, and in the way of nothing else."""
    async with AsyncExitStack() as stack:
        ann, bob, carl = await enter(stack, server, cast.ann, cast.bob, cast.carl)
        own = await ann.ask("send_message", recipientId=cast.bob.id, content="hello")
        theirs = await bob.ask("send_message", recipientId=cast.ann.id, content="hello")
        group = await create(carl, cast.ann, cast.bob)
        in_group = await bob.ask("send_group_message", groupId=group, content="hello")
        names = {HERE: own["conversationId"], OWN: own["messageId"], THEIRS: theirs["messageId"], GROUP: group}
        names |= {IN_GROUP: in_group["messageId"], OTHER: cast.bob.id, "<own group>": await create(ann)}
        blocker, other = (ann, cast.bob) if who == "blocker" else (bob, cast.ann)
        await blocker.ask("block_user", userId=other.id)
        for request, fields, expected in REQUESTS:
            asked = {name: _filled(value, names) for name, value in fields.items()}
            reply = await ann.ask(request, **asked)
            assert reply.get("code", FINE) == expected, (request, reply)


async def test_what_a_block_hides(server: LiveServer, cast: Cast) -> None:
    """Read markers and positions are hidden while it stands, deletions are not; lifting it undoes all."""
    async with AsyncExitStack() as stack:
        ann, bob = await enter(stack, server, cast.ann, cast.bob)
        sent = await ann.ask("send_message", recipientId=cast.bob.id, content="hello")
        conversation = sent["conversationId"]
        await bob.ask("mark_read", conversationId=conversation, seq=1)
        assert (await ann.next(type="messages_read"))["readSeq"] == 1
        await bob.ask("block_user", userId=cast.ann.id)
        for client in (ann, bob):
            (row,) = (await client.ask("get_conversations"))["conversations"]
            assert (row["peerReadSeq"], row["peerDeliveredSeq"]) == (None, None)
        await bob.next(type="new_message")
        await ann.ask("delete_message", messageId=sent["messageId"], forEveryone=True)
        assert (await bob.next())["type"] == "message_deleted"
        await bob.ask("mark_read", conversationId=conversation, seq=2)
        await ann.quiet()
        await bob.ask("unblock_user", userId=cast.ann.id)
        again = await ann.ask("send_message", conversationId=conversation, content="again")
        assert again["type"] == "message_sent"
        assert (await bob.next())["message"]["content"] == "again"
        await bob.ask("mark_read", conversationId=conversation, seq=again["seq"])
        assert (await ann.next(type="messages_read"))["readSeq"] == again["seq"]


async def test_a_block_hides_presence_everywhere(server: LiveServer, cast: Cast) -> None:
    """Neither a send repeated while it stands nor the list of a shared group tells that the other is online."""
    async with AsyncExitStack() as stack:
        ann, bob, carl = await enter(stack, server, cast.ann, cast.bob, cast.carl)
        group = await create(carl, cast.ann, cast.bob)

        async def seen(client: ChatClient) -> list[bool]:
            members = (await client.ask("get_group_members", groupId=group))["members"]
            return [member["isOnline"] for member in members]

        message = {"recipientId": cast.bob.id, "content": "hello", "clientMessageId": "1"}
        assert (await ann.ask("send_message", **message))["recipientOnline"] is True
        for client in (ann, bob):
            for _ in range(100):  # presence is written down in batches
                if all(await seen(client)):
                    break
                await asyncio.sleep(0.05)
        await bob.ask("block_user", userId=cast.ann.id)
        again = await ann.ask("send_message", **message)
        assert (again["duplicate"], again["recipientOnline"]) == (True, False)
        assert [await seen(client) for client in (carl, ann, bob)] == [
            [True, True, True],
            [True, True, False],
            [True, False, True],
        ]


async def test_following_is_a_warning(server: LiveServer, cast: Cast) -> None:
    """Who does not follow the recipient is told so with each message, which goes through."""

    async def warning(client: ChatClient) -> Any:
        reply: Frame = await client.ask("send_message", recipientId=cast.bob.id, content="x")
        assert reply["type"] == "message_sent"
        return reply.get("warning")

    async with AsyncExitStack() as stack:
        (ann,) = await enter(stack, server, cast.ann)
        assert await warning(ann) == "NOT_FOLLOWING"
        await ann.ask("follow_user", userId=cast.bob.id)
        assert await warning(ann) is None
        await ann.ask("unfollow_user", userId=cast.bob.id)
        assert await warning(ann) == "NOT_FOLLOWING"


def test_the_blocked_are_counted(live_database: None, cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody who has blocked as many as they may blocks nobody else, but the same ones again."""
    monkeypatch.setattr("messaging.services.people.BLOCKS_MAX", 1)
    ann = cast.ann.user.pk
    for _ in range(2):
        doors.write(services.block_user, ann, cast.bob.id, command_id=uuid.uuid4())
    with pytest.raises(Conflict):
        doors.write(services.block_user, ann, cast.carl.id, command_id=uuid.uuid4())
    assert [user.user_id for user in services.blocked_users(ann).users] == [cast.bob.id]
