"""What is refused, and in which words: every request run by a stranger, by nobody, and with wrong values."""

from __future__ import annotations

import json
import uuid
from contextlib import AsyncExitStack
from typing import Any

import pytest
from django.db.models import Model, QuerySet

from config.routing import ROUTES
from messaging.models import Block, Conversation, Event, Follow, Message, MessageDeletion, Participant, Reaction
from tests.cast import Cast
from tests.client import ChatClient
from tests.database import in_database
from tests.server import LiveServer
from tests.test_groups import create, enter

HERE, GROUP, MESSAGE, IN_GROUP, SOMEBODY = "<conversation>", "<group>", "<message>", "<group message>", "<user>"
Fields = dict[str, Any]

# Every request type with fields that name something of ann's and bob's; None: it names nothing that could be theirs.
FOREIGN: dict[str, list[Fields] | None] = {
    "connect": None,
    "ping": None,
    "test": None,
    "ack": None,
    "sync": None,
    "start_conversation": None,
    "send_message": [
        {"conversationId": HERE, "content": "x"},
        {"conversationId": GROUP, "content": "x"},
        {"recipientId": SOMEBODY, "content": "x", "replyToMessageId": MESSAGE},
    ],
    "get_messages": [{"conversationId": HERE}, {"conversationId": GROUP}, {"groupId": GROUP}, {"groupId": HERE}],
    "update_message": [{"messageId": MESSAGE, "content": "x"}, {"messageId": IN_GROUP, "content": "x"}],
    "delete_message": [
        {"messageId": message, "forEveryone": everyone} for message in (MESSAGE, IN_GROUP) for everyone in (True, False)
    ],
    "add_reaction": [{"messageId": MESSAGE, "emoji": "+"}, {"messageId": IN_GROUP, "emoji": "+"}],
    "remove_reaction": [{"messageId": MESSAGE, "emoji": "+"}, {"messageId": IN_GROUP, "emoji": "+"}],
    "typing": [{"conversationId": HERE, "isTyping": True}, {"groupId": GROUP, "isTyping": True}],
    "mark_read": [{"conversationId": HERE, "seq": 1}, {"conversationId": GROUP, "seq": 1}, {"messageId": MESSAGE}],
    "get_conversations": None,
    "delete_conversation": [{"conversationId": HERE}, {"conversationId": GROUP}],
    "search_messages": [{"query": "x", "conversationId": HERE}, {"query": "x", "conversationId": GROUP}],
    "block_user": None,
    "unblock_user": None,
    "follow_user": None,
    "unfollow_user": None,
    "get_blocked_users": None,
    "get_online_users": None,
    "get_presence": None,
    "create_group": None,
    "create_community": None,
    "get_user_groups": None,
    "get_communities": None,
    "send_group_message": [{"groupId": GROUP, "content": "x"}, {"groupId": HERE, "content": "x"}],
    "send_announcement": [{"groupId": GROUP, "content": "x"}, {"groupId": HERE, "content": "x"}],
    "get_group_messages": [{"groupId": GROUP}, {"groupId": HERE}],
    "get_group_info": [{"groupId": GROUP}, {"groupId": HERE}],
    "get_group_members": [{"groupId": GROUP}, {"groupId": HERE}],
    "get_pinned_messages": [{"groupId": GROUP}, {"groupId": HERE}],
    "update_group": [{"groupId": GROUP, "name": "x"}, {"groupId": HERE, "name": "x"}],
    "delete_group": [{"groupId": GROUP}, {"groupId": GROUP, "permanent": True}, {"groupId": HERE}],
    "restore_group": [{"groupId": GROUP}, {"groupId": HERE}],
    "leave_group": [{"groupId": GROUP}, {"groupId": HERE}],
    "join_community": [{"communityId": GROUP}, {"communityId": HERE}],
    "leave_community": [{"communityId": GROUP}, {"communityId": HERE}],
    **{
        request: [{"groupId": GROUP, "userId": SOMEBODY}, {"groupId": HERE, "userId": SOMEBODY}]
        for request in (
            "add_group_member",
            "remove_group_member",
            "promote_member",
            "demote_member",
            "transfer_ownership",
            "mute_member",
            "unmute_member",
        )
    },
    "pin_message": [{"groupId": GROUP, "messageId": IN_GROUP}, {"groupId": HERE, "messageId": MESSAGE}],
    "unpin_message": [{"groupId": GROUP, "messageId": IN_GROUP}, {"groupId": HERE, "messageId": MESSAGE}],
}


def test_every_request_is_in_the_table() -> None:
    """A new request type has to say what a stranger may do with it."""
    assert {route.wire_type for route in ROUTES.values()} == FOREIGN.keys()


def _filled(fields: Fields, names: dict[str, str]) -> Fields:
    return {name: names.get(value, value) if isinstance(value, str) else value for name, value in fields.items()}


def _everything(cast: Cast) -> list[Any]:
    """Return every row that belongs to ann or bob, but for what is delivered to them meanwhile."""
    people = [cast.ann.user, cast.bob.user]
    conversations = Participant.objects.filter(user=cast.ann.user).values("conversation")
    places = Participant.objects.filter(conversation__in=conversations)
    tables: tuple[QuerySet[Any], ...] = (
        Conversation.objects.filter(pk__in=conversations),
        places,
        Event.objects.filter(conversation__in=conversations),
        Message.objects.filter(conversation__in=conversations),
        Reaction.objects.filter(message__conversation__in=conversations),
        MessageDeletion.objects.filter(message__conversation__in=conversations),
        Block.objects.filter(blocker__in=people),
        Follow.objects.filter(follower__in=people),
    )
    return [sorted(map(_row, table)) for table in tables]


def _row(row: Model) -> str:
    return str({name: value for name, value in vars(row).items() if name not in {"_state", "delivered_seq"}})


async def test_a_stranger_reads_the_words_of_a_missing_thing(server: LiveServer, cast: Cast) -> None:
    """Whatever mallory asks of ann's and bob's things is answered as if they did not exist, and does nothing."""
    async with AsyncExitStack() as stack:
        ann, bob, mallory = await enter(stack, server, cast.ann, cast.bob, cast.mallory)
        sent = await ann.ask("send_message", recipientId=cast.bob.id, content="secret")
        group = await create(ann, cast.bob)
        in_group = await ann.ask("send_group_message", groupId=group, content="secret")
        names = {HERE: sent["conversationId"], GROUP: group, SOMEBODY: cast.bob.id}
        names |= {MESSAGE: sent["messageId"], IN_GROUP: in_group["messageId"]}
        missing = {name: str(uuid.uuid4()) for name in names} | {SOMEBODY: cast.bob.id}
        for client in (ann, bob):
            await client.ask("ping")
            client.take_all()
        before = await in_database(lambda: _everything(cast))
        for request, variants in FOREIGN.items():
            for fields in variants or ():
                theirs = await mallory.ask(request, **_filled(fields, names), requestId="r")
                nobodys = await mallory.ask(request, **_filled(fields, missing), requestId="r")
                assert theirs == nobodys, request
                assert theirs["code"] == "NOT_FOUND", theirs
        await mallory.tell("sync", cursors={names[HERE]: 0, group: 0})
        assert (await mallory.next())["type"] == "sync_complete"
        await mallory.tell("ack", cursors={names[HERE]: 2, group: 2})
        await mallory.quiet()
        await ann.quiet()
        await bob.quiet()
        assert await in_database(lambda: _everything(cast)) == before


@pytest.mark.any_stack
async def test_nobody_is_served_before_connect(server: LiveServer) -> None:
    """Without a user every request but connect, ping and test is AUTH_REQUIRED, whatever it names."""
    examples: Fields = {
        "conversationId": str(uuid.uuid4()),
        "groupId": str(uuid.uuid4()),
        "communityId": str(uuid.uuid4()),
        "messageId": str(uuid.uuid4()),
        "recipientId": "1",
        "userId": "1",
        "userIds": ["1"],
        "content": "x",
        "emoji": "+",
        "isTyping": True,
        "query": "x",
        "name": "x",
        "cursors": {},
    }
    async with ChatClient(server.url) as client:
        await client.next(type="connected")
        for request in FOREIGN.keys() - {"connect", "ping", "test"}:
            fields = {name: value for name, value in examples.items() if name in ROUTES[request].fields}
            refused = await client.ask(request, **fields)
            assert refused["code"] == "AUTH_REQUIRED", refused


UNUSABLE: dict[str, list[Any]] = {
    "conversationId": ["", "x", 1, None, "A" * 36, str(uuid.uuid4()).upper(), str(uuid.uuid4()) + "\u0000", []],
    "messageId": ["", "x", 1, "x" * 10_000],
    "groupId": ["", 1, {}],
    "communityId": ["", 1, None],
    "recipientId": ["", 1, True, "x" * 256, "\u0000", "\ud800"],
    "userId": ["", 1, None, "x" * 256],
    "userIds": ["1", [1], [""], ["1"] * 101],
    "memberIds": ["1", [1], ["1"] * 51],
    "content": ["", " \n\t ", "x" * 5_001, 1, None, "a\u0000b", "\ud800"],
    "clientMessageId": ["", "x" * 129, 1],
    "replyToMessageId": ["x", 1],
    "emoji": ["", "x" * 33, 1, "\u0000"],
    "limit": [0, 201, -1, 1.5, "50", None],
    "before": [-1, 2**53],
    "after": [-1, "1"],
    "offset": [-1, 1.5],
    "seq": [-1, 2**53, "1", 1.5],
    "isTyping": [1, "true", None],
    "forEveryone": [1, "yes"],
    "includeTotal": [0],
    "query": ["", " ", "x" * 201, 1, "\u0000"],
    "cursors": [[], {"x": 1}, {str(uuid.uuid4()): -1}, {str(uuid.uuid4()): "1"}],
    "name": ["", " ", "x" * 101, 1, None],
    "description": ["x" * 501, 1],
    "maxMembers": [0, 1, 100_001, "5"],
    "postingPolicy": ["", "nobody", 1],
    "isPublic": [1],
    "joined": ["yes"],
    "minutes": [0, -1, 525_601, "5"],
    "permanent": [1],
}


FINE = {("get_communities", "query"): ("", " ")}  # there it means something


@pytest.mark.any_stack
async def test_unusable_values_are_named(server: LiveServer, cast: Cast) -> None:
    """For every field of every request, a value that cannot be is VALIDATION_ERROR with that field."""
    async with AsyncExitStack() as stack:
        (ann,) = await enter(stack, server, cast.ann)
        conversation = (await ann.ask("start_conversation", recipientId=cast.bob.id))["conversationId"]
        group = await create(ann)
        message = (await ann.ask("send_message", recipientId=cast.bob.id, content="x"))["messageId"]
        good: Fields = {
            "conversationId": conversation,
            "groupId": group,
            "communityId": group,
            "messageId": message,
            "recipientId": cast.bob.id,
            "userId": cast.bob.id,
            "userIds": [cast.bob.id],
            "content": "x",
            "emoji": "+",
            "isTyping": False,
            "query": "x",
            "name": "x",
            "seq": 1,
            "cursors": {},
        }
        alternatives = {"conversationId", "recipientId", "groupId", "messageId", "userId", "userIds", "seq"}
        for request in FOREIGN.keys() - {"connect"}:
            known = ROUTES[request].fields
            for field in known & UNUSABLE.keys():
                others = known & good.keys() - ({field} | (alternatives if field in alternatives else set()))
                if field not in alternatives and request in {"send_message", "get_messages", "typing", "mark_read"}:
                    others -= alternatives - {"conversationId"}
                if request == "mark_read" and field == "seq":
                    others |= {"conversationId"}
                needed = {"groupId"} & known if request not in {"get_messages", "typing"} else set()
                for value in UNUSABLE[field]:
                    if value in FINE.get((request, field), ()) or (value is None and field not in _required(request)):
                        continue
                    fields = {name: good[name] for name in others | (needed - {field})} | {field: value}
                    frame = json.dumps({"type": request, "requestId": "r", **fields})
                    await ann.send_text(frame)
                    refused = await ann.next()
                    assert refused.get("code") == "VALIDATION_ERROR", (frame[:300], refused)
                    assert refused.get("field", "").split("[")[0] == field, (frame[:300], refused)


def _required(request: str) -> set[str]:
    """Return the fields that may not be null."""
    always = {"content", "emoji", "isTyping", "name", "limit", "communityId"}
    return always | ({"userId"} if request != "add_group_member" else set())
