"""Groups: creating them, who comes and goes, and what each one gets of it."""

import asyncio
from contextlib import AsyncExitStack
from typing import Any

from tests.cast import Cast, Person
from tests.client import ChatClient, Frame
from tests.server import LiveServer


async def enter(stack: AsyncExitStack, server: LiveServer, *people: Person, **fields: Any) -> list[ChatClient]:
    """Connect some people, each on a connection of their own."""
    clients = [await stack.enter_async_context(ChatClient(server.url, person.token)) for person in people]
    await asyncio.gather(*(client.connect(**fields) for client in clients))
    return clients


async def create(client: ChatClient, *members: Person, **fields: Any) -> str:
    """Create a group and return its id."""
    reply = await client.ask("create_group", name="Plans", memberIds=[each.id for each in members], **fields)
    assert reply["type"] == "group_created", reply
    group_id: str = reply["groupId"]
    return group_id


def profile(person: Person, role: str) -> Frame:
    """Return a new member as events show them."""
    return {
        "userId": person.id,
        "username": person.name,
        "displayName": person.name,
        "profileImage": None,
        "role": role,
    }


async def test_everyone_learns_of_a_new_group(server: LiveServer, cast: Cast) -> None:
    """The creator gets the reply, the members the event, with all members and without anybody's role as reader."""
    async with AsyncExitStack() as stack:
        ann, bob = await enter(stack, server, cast.ann, cast.bob)
        reply = await ann.ask(
            "create_group", name="  Plans ", description="For May", memberIds=[cast.bob.id, cast.carl.id, cast.ann.id]
        )
        group_id = reply["groupId"]
        assert reply == {
            "type": "group_created",
            "requestId": reply["requestId"],
            "conversationId": group_id,
            "groupId": group_id,
            "seq": 1,
            "timestamp": reply["timestamp"],
            "group": {
                "groupId": group_id,
                "name": "Plans",
                "description": "For May",
                "kind": "group",
                "ownerId": cast.ann.id,
                "memberCount": 3,
                "maxMembers": 50,
                "postingPolicy": "everyone",
                "isPublic": False,
                "isFrozen": False,
                "createdAt": reply["group"]["createdAt"],
                "role": "owner",
            },
            "members": [profile(cast.ann, "owner"), profile(cast.bob, "member"), profile(cast.carl, "member")],
        }
        event = await bob.next()
        del reply["requestId"], reply["group"]["role"]
        assert event == reply
        (carl,) = await enter(stack, server, cast.carl)  # was away
        assert carl.take_all() == [event]
        info = await carl.ask("get_group_info", groupId=group_id)
        assert info["group"] == reply["group"] | {"role": "member"}


async def test_messages_reach_the_members(server: LiveServer, cast: Cast) -> None:
    """A message in a group is an event of its members, with mentions; nobody else gets anything."""
    async with AsyncExitStack() as stack:
        ann, bob, mallory = await enter(stack, server, cast.ann, cast.bob, cast.mallory)
        group_id = await create(ann, cast.bob)
        await bob.next(type="group_created")
        reply = await bob.ask("send_group_message", groupId=group_id, content=f"@{cast.ann.name} @all hi")
        assert (reply["type"], reply["seq"], reply["groupId"]) == ("group_message_sent", 2, group_id)
        event = await ann.next()
        assert (event["type"], event["message"]["content"]) == ("new_group_message", f"@{cast.ann.name} @all hi")
        assert event["message"]["mentions"] == [{"type": "user", "userId": cast.ann.id, "username": cast.ann.name}]
        await ann.ask("send_group_message", groupId=group_id, content="@everyone listen")
        assert (await bob.next())["message"]["mentions"] == [{"type": "everyone"}]
        announced = await ann.ask("send_announcement", groupId=group_id, content="Tomorrow")
        assert announced["type"] == "announcement_sent"
        event = await bob.next()
        assert (event["type"], event["message"]["kind"]) == ("new_announcement", "announcement")
        page = await bob.ask("get_group_messages", groupId=group_id, includeTotal=True)
        assert ([each["seq"] for each in page["messages"]], page["total"]) == ([2, 3, 4], 3)
        listed = await bob.ask("get_conversations")
        (row,) = listed["conversations"]
        assert (row["kind"], row["group"]["name"], row["group"]["role"]) == ("group", "Plans", "member")
        assert (row["unreadCount"], row["mentionCount"]) == (2, 1)
        await mallory.quiet()


async def test_a_message_counts_once_among_mentions(server: LiveServer, cast: Cast) -> None:
    """One that mentions somebody and everyone is one message that mentions them."""
    async with AsyncExitStack() as stack:
        ann, bob = await enter(stack, server, cast.ann, cast.bob)
        group_id = await create(ann, cast.bob)
        sent = await ann.ask("send_group_message", groupId=group_id, content=f"@{cast.bob.name} @everyone")
        assert len(sent["message"]["mentions"]) == 2
        (row,) = (await bob.ask("get_conversations"))["conversations"]
        assert (row["unreadCount"], row["mentionCount"]) == (1, 1)
