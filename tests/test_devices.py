"""Several devices of one person: what each request made on one of them brings to the others, and to other people."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest

from config.routing import ROUTES
from tests.cast import Cast
from tests.client import ChatClient, Frame
from tests.server import LiveServer
from tests.test_groups import enter

HERE, SENT, IN_GROUP, GROUP, COMMUNITY = "<direct>", "<sent>", "<in group>", "<group>", "<community>"
ANN, CARL, TOKEN = "<ann>", "<carl>", "<token>"
Row = tuple[str, dict[str, Any], str | None, str | None]

# What bob asks for on his laptop, in this order, and the types of what his phone and ann get of it.
ROWS: list[Row] = [
    ("start_conversation", {"recipientId": ANN}, None, None),
    ("send_message", {"recipientId": ANN, "content": "Hello"}, "new_message", "new_message"),
    ("update_message", {"messageId": SENT, "content": "Bye"}, "message_edited", "message_edited"),
    ("add_reaction", {"messageId": SENT, "emoji": "+"}, "reaction_added", "reaction_added"),
    ("add_reaction", {"messageId": SENT, "emoji": "+"}, None, None),
    ("remove_reaction", {"messageId": SENT, "emoji": "+"}, "reaction_removed", "reaction_removed"),
    ("remove_reaction", {"messageId": SENT, "emoji": "+"}, None, None),
    ("mark_read", {"conversationId": HERE, "seq": 2}, "messages_read", "messages_read"),
    ("mark_read", {"conversationId": HERE, "seq": 1}, None, None),
    ("typing", {"conversationId": HERE, "isTyping": True}, None, "user_typing"),
    ("typing", {"conversationId": HERE, "isTyping": False}, None, "user_typing"),
    ("delete_message", {"messageId": SENT}, "message_deleted", None),
    ("send_message", {"conversationId": HERE, "content": "Hello"}, "new_message", "new_message"),
    ("delete_message", {"messageId": SENT, "forEveryone": True}, "message_deleted", "message_deleted"),
    ("get_messages", {"conversationId": HERE}, None, None),
    ("get_conversations", {}, None, None),
    ("search_messages", {"query": "Hello"}, None, None),
    ("delete_conversation", {"conversationId": HERE}, "conversation_deleted", None),
    ("follow_user", {"userId": ANN}, None, None),
    ("unfollow_user", {"userId": ANN}, None, None),
    ("block_user", {"userId": ANN}, "user_blocked", None),
    ("get_blocked_users", {}, None, None),
    ("unblock_user", {"userId": ANN}, "user_unblocked", None),
    ("get_online_users", {}, None, None),
    ("get_presence", {"userIds": [ANN]}, None, None),
    ("ping", {"cursors": {}}, None, None),
    ("test", {}, None, None),
    ("ack", {"cursors": {}}, None, None),
    ("sync", {"cursors": {}}, None, None),
    ("connect", {"token": TOKEN}, None, None),
    ("create_group", {"name": "Plans", "memberIds": [ANN]}, "group_created", "group_created"),
    ("send_group_message", {"groupId": GROUP, "content": "Hello"}, "new_group_message", "new_group_message"),
    ("send_announcement", {"groupId": GROUP, "content": "Hello"}, "new_announcement", "new_announcement"),
    ("mark_read", {"conversationId": GROUP, "seq": 3}, "messages_read", None),
    ("pin_message", {"groupId": GROUP, "messageId": IN_GROUP}, "message_pinned", "message_pinned"),
    ("pin_message", {"groupId": GROUP, "messageId": IN_GROUP}, None, None),
    ("get_pinned_messages", {"groupId": GROUP}, None, None),
    ("unpin_message", {"groupId": GROUP, "messageId": IN_GROUP}, "message_unpinned", "message_unpinned"),
    ("add_group_member", {"groupId": GROUP, "userId": CARL}, "member_added", "member_added"),
    ("mute_member", {"groupId": GROUP, "userId": CARL}, "member_muted", "member_muted"),
    ("unmute_member", {"groupId": GROUP, "userId": CARL}, "member_unmuted", "member_unmuted"),
    ("remove_group_member", {"groupId": GROUP, "userId": CARL}, "member_removed", "member_removed"),
    ("promote_member", {"groupId": GROUP, "userId": ANN}, "member_promoted", "member_promoted"),
    ("demote_member", {"groupId": GROUP, "userId": ANN}, "member_demoted", "member_demoted"),
    ("update_group", {"groupId": GROUP, "name": "Other plans"}, "group_info_updated", "group_info_updated"),
    ("get_group_info", {"groupId": GROUP}, None, None),
    ("get_group_members", {"groupId": GROUP}, None, None),
    ("get_group_messages", {"groupId": GROUP}, None, None),
    ("get_user_groups", {}, None, None),
    ("delete_group", {"groupId": GROUP}, "group_deleted", "group_deleted"),
    ("restore_group", {"groupId": GROUP}, "group_restored", "group_restored"),
    ("transfer_ownership", {"groupId": GROUP, "userId": ANN}, "ownership_transferred", "ownership_transferred"),
    ("leave_group", {"groupId": GROUP}, "member_left", "member_left"),
    ("create_community", {"name": "All", "memberIds": [ANN]}, "group_created", "group_created"),
    ("get_communities", {"joined": True}, None, None),
    ("transfer_ownership", {"groupId": COMMUNITY, "userId": ANN}, "ownership_transferred", "ownership_transferred"),
    ("leave_community", {"communityId": COMMUNITY}, "member_left", "member_left"),
    ("join_community", {"communityId": COMMUNITY}, "member_joined", "member_joined"),
]
WITHOUT_REPLY = {"typing", "ack"}


def test_every_request_is_in_the_table() -> None:
    """A new request type has to say what the other devices get of it."""
    assert {route.wire_type for route in ROUTES.values()} == {request for request, *_ in ROWS}


class Names:
    """What the table's placeholders stand for; replies tell of further ones."""

    def __init__(self, cast: Cast) -> None:
        """Know the people."""
        self._values = {ANN: cast.ann.id, CARL: cast.carl.id, TOKEN: cast.bob.token}

    def filled(self, value: Any) -> Any:
        """Return a value of the table with what its placeholders stand for."""
        if isinstance(value, dict):
            return {name: self.filled(each) for name, each in value.items()}
        if isinstance(value, list):
            return [self.filled(each) for each in value]
        return self._values.get(value, value) if isinstance(value, str) else value

    def learn(self, reply: Frame) -> None:
        """Note what a reply has made."""
        match reply["type"]:
            case "conversation_started":
                self._values[HERE] = reply["conversationId"]
            case "message_sent":
                self._values[SENT] = reply["messageId"]
            case "group_message_sent":
                self._values[IN_GROUP] = reply["messageId"]
            case "group_created":
                is_group = reply["group"]["kind"] == "group"
                self._values[GROUP if is_group else COMMUNITY] = reply["groupId"]


def as_event(reply: Frame, event_type: str) -> Frame:
    """Return a reply as others get it: what belongs to its sender alone is left out."""
    of_sending = {"messageId", "clientMessageId", "warning", "recipientOnline"}
    own = {"requestId"} | (of_sending if "message" in reply else set())
    event = {name: value for name, value in reply.items() if name not in own}
    if event_type == "group_created":
        event["group"] = {name: value for name, value in reply["group"].items() if name != "role"}
    return event | {"type": event_type}


async def ask(laptop: ChatClient, request: str, fields: dict[str, Any]) -> Frame:
    """Return the reply to a request, or the next one's if there is none."""
    if request not in WITHOUT_REPLY:
        return await laptop.ask(request, **fields)
    await laptop.tell(request, **fields)
    return await laptop.ask("ping")


async def check_row(row: Row, names: Names, laptop: ChatClient, others: list[ChatClient]) -> None:
    """Make a request on the laptop; the others get one frame each, as the table says, which says the same."""
    request, fields, *expected = row
    reply = await ask(laptop, request, names.filled(fields))
    assert reply["type"] not in {"error", "auth_error"}, (row, reply)
    names.learn(reply)
    for client, event_type in zip(others, expected, strict=True):
        if event_type is not None:
            event = await client.next()
            if event_type == "user_typing":
                assert (event["type"], event["isTyping"]) == (event_type, fields["isTyping"])
            else:
                assert event == as_event(reply, event_type), row


@pytest.mark.parametrize("place", ["one worker", pytest.param("two workers", marks=pytest.mark.postgres_only)])
async def test_what_the_other_devices_get(
    server: LiveServer, start_server: Callable[..., LiveServer], cast: Cast, place: str
) -> None:
    """The device that asks gets the reply alone; the user's others get the event or the reply; nobody anything else."""
    elsewhere = server if place == "one worker" else start_server()
    names = Names(cast)
    async with AsyncExitStack() as stack:
        (laptop,) = await enter(stack, server, cast.bob)
        others = await enter(stack, elsewhere, cast.bob, cast.ann)
        for row in ROWS:
            await check_row(row, names, laptop, others)
            assert laptop.take_all() == [], row
            if place == "one worker":
                for client in others:
                    await client.ask("ping")
                    assert client.take_all() == [], row
        for client in (laptop, *others):
            await client.quiet()


async def test_the_delivered_position_is_one_for_all_devices(server: LiveServer, cast: Cast) -> None:
    """What one device has received does not wait for another, which gets it by a cursor of its own."""
    async with AsyncExitStack() as stack:
        ann, laptop = await enter(stack, server, cast.ann, cast.bob)
        sent = [await ann.ask("send_message", recipientId=cast.bob.id, content=str(number)) for number in range(3)]
        assert [(await laptop.next())["seq"] for _ in sent] == [1, 2, 3]
        (phone,) = await enter(stack, server, cast.bob)
        assert phone.take_all() == []
        (tablet,) = await enter(stack, server, cast.bob, resume={sent[0]["conversationId"]: 1})
        assert [frame["seq"] for frame in tablet.take_all()] == [2, 3]
        await ann.ask("send_message", recipientId=cast.bob.id, content="3")
        assert [(await client.next())["seq"] for client in (laptop, phone, tablet)] == [4, 4, 4]


async def test_a_device_that_was_away_gets_everything_as_it_is_now(server: LiveServer, cast: Cast) -> None:
    """With its cursor it gets what all did meanwhile, oneself included: edited, deleted and reacted to as it is now."""
    async with AsyncExitStack() as stack:
        ann, laptop, phone = await enter(stack, server, cast.ann, cast.bob, cast.bob)
        first = await ann.ask("send_message", recipientId=cast.bob.id, content="draft")
        here = first["conversationId"]
        await phone.next(type="new_message")
        await phone.__aexit__(None, None, None)
        second = await laptop.ask("send_message", conversationId=here, content="secret")
        third = await laptop.ask("send_message", conversationId=here, content="x", replyToMessageId=second["messageId"])
        hidden = await ann.ask("send_message", conversationId=here, content="hidden")
        await ann.ask("update_message", messageId=first["messageId"], content="final")
        await ann.ask("update_message", messageId=hidden["messageId"], content="still hidden")
        await laptop.ask("add_reaction", messageId=second["messageId"], emoji="+")
        await laptop.ask("delete_message", messageId=second["messageId"], forEveryone=True)
        await laptop.ask("delete_message", messageId=hidden["messageId"])
        (phone,) = await enter(stack, server, cast.bob, resume={here: 1})
        got = phone.take_all()
        expected = ["new_message", "new_message", "skipped", "message_edited", "skipped", "reaction_added"]
        assert [frame["type"] for frame in got] == [*expected, "message_deleted"]
        assert [frame["seq"] for frame in got] == list(range(2, 9))
        tombstone, reply = got[0]["message"], got[1]["message"]
        assert (tombstone["content"], tombstone["isDeleted"], tombstone["reactions"]) == (None, True, [])
        assert (reply["messageId"], "excerpt" in reply["replyTo"]) == (third["messageId"], False)
        assert (got[3]["messageId"], got[3]["content"]) == (first["messageId"], "final")
        assert "secret" not in str(got)
        assert "hidden" not in str(got)
