"""The role matrix: every operation on a group, asked for by everybody there can be."""

import asyncio
import uuid
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest

from tests.cast import Cast
from tests.client import ChatClient
from tests.server import LiveServer
from tests.test_groups import create, enter

OK, LOW, SELF, GONE = "ok", "INSUFFICIENT_PERMISSIONS", "VALIDATION_ERROR", "NOT_FOUND"
Fields = Callable[[Cast, str], dict[str, Any]]  # (people, id of a message of the group) → fields of a request


def on(name: str) -> Fields:
    """Return the fields of an operation on somebody of the cast."""
    return lambda cast, _: {"userId": getattr(cast, name).id}


def plain(**fields: Any) -> Fields:
    """Return fields that name nobody."""
    return lambda *_: fields


def to_message(**fields: Any) -> Fields:
    """Return the fields of an operation on a message by ann."""
    return lambda _, message_id: {"messageId": message_id, **fields}


# In the group are ann, its owner, bob, an admin, and carl, a member; mallory is outside, and gets NOT_FOUND.
MATRIX: list[tuple[str, Fields, str, str, str]] = [  # request, fields, answers to owner, admin and member
    ("get_group_info", plain(), OK, OK, OK),
    ("get_group_members", plain(), OK, OK, OK),
    ("get_group_messages", plain(), OK, OK, OK),
    ("get_messages", plain(), OK, OK, OK),
    ("get_pinned_messages", plain(), OK, OK, OK),
    ("send_group_message", plain(content="x"), OK, OK, OK),
    ("send_announcement", plain(content="x"), OK, OK, LOW),
    ("update_group", plain(name="New"), OK, OK, LOW),
    ("add_group_member", on("mallory"), OK, OK, LOW),
    ("remove_group_member", on("carl"), OK, OK, LOW),
    ("remove_group_member", on("bob"), OK, SELF, LOW),
    ("remove_group_member", on("ann"), SELF, LOW, LOW),
    ("promote_member", on("carl"), OK, LOW, LOW),
    ("promote_member", on("ann"), SELF, LOW, LOW),
    ("demote_member", on("bob"), OK, LOW, LOW),
    ("transfer_ownership", on("carl"), OK, LOW, LOW),
    ("mute_member", on("carl"), OK, OK, LOW),
    ("mute_member", on("bob"), OK, SELF, LOW),
    ("mute_member", on("ann"), SELF, LOW, LOW),
    ("unmute_member", on("carl"), OK, OK, LOW),
    ("unmute_member", on("ann"), SELF, LOW, LOW),
    ("pin_message", to_message(), OK, OK, LOW),
    ("unpin_message", to_message(), OK, OK, LOW),
    ("update_message", to_message(content="y"), OK, LOW, LOW),
    ("delete_message", to_message(forEveryone=True), OK, OK, LOW),
    ("delete_message", to_message(), OK, OK, OK),
    ("add_reaction", to_message(emoji="+"), OK, OK, OK),
    ("delete_group", plain(), OK, LOW, LOW),
    ("delete_group", plain(permanent=True), OK, LOW, LOW),
    ("restore_group", plain(), "CONFLICT", LOW, LOW),
    ("leave_group", plain(), "OWNER_CANNOT_LEAVE", OK, OK),
]


@pytest.mark.parametrize("row", MATRIX, ids=[f"{row[0]}-{number}" for number, row in enumerate(MATRIX)])
async def test_the_role_decides(server: LiveServer, cast: Cast, row: tuple[str, Fields, str, str, str]) -> None:
    """Each operation is allowed to who may do it, and refused to the others by what they may know."""
    request_type, fields, *answers = row
    async with AsyncExitStack() as stack:
        people = await enter(stack, server, cast.ann, cast.bob, cast.carl, cast.mallory)
        for client, expected in zip(people, (*answers, GONE), strict=True):
            group_id, message_id = await make_group(people[0], cast)
            reply = await client.ask(request_type, groupId=group_id, **fields(cast, message_id))
            assert reply.get("code", OK) == expected, reply


async def make_group(ann: ChatClient, cast: Cast) -> tuple[str, str]:
    """Make a group with an admin, a member and a message."""
    group_id = await create(ann, cast.bob, cast.carl)
    await ann.ask("promote_member", groupId=group_id, userId=cast.bob.id)
    sent = await ann.ask("send_group_message", groupId=group_id, content="x")
    return group_id, sent["message"]["messageId"]


async def test_strangers_read_the_words_of_a_missing_group(server: LiveServer, cast: Cast) -> None:
    """Whatever mallory asks of a group, the answer is that of a group that does not exist."""
    async with AsyncExitStack() as stack:
        ann, mallory = await enter(stack, server, cast.ann, cast.mallory)
        group_id, message_id = await make_group(ann, cast)
        for request_type, fields, *_ in MATRIX:
            asked = fields(cast, message_id) | {"requestId": "r"}
            missing = asked | ({"messageId": str(uuid.uuid4())} if "messageId" in asked else {})
            refused = await mallory.ask(request_type, groupId=group_id, **asked)
            assert refused == await mallory.ask(request_type, groupId=str(uuid.uuid4()), **missing)
            assert refused["code"] == GONE
        await mallory.quiet()


@pytest.mark.parametrize("attempt", range(3))
async def test_two_transfers_leave_one_owner(server: LiveServer, cast: Cast, attempt: int) -> None:
    """Of changes of roles that race each other each sees what the ones before it have done."""
    async with AsyncExitStack() as stack:
        devices = await enter(stack, server, *[cast.ann] * 4)
        group_id = await create(devices[0], cast.bob, cast.carl)
        requests = [
            ("transfer_ownership", cast.bob),
            ("transfer_ownership", cast.carl),
            ("promote_member", cast.bob),
            ("remove_group_member", cast.carl),
        ]
        replies = await asyncio.gather(
            *(
                device.ask(request, groupId=group_id, userId=person.id)
                for device, (request, person) in zip(devices, requests, strict=True)
            )
        )
        transfers = [reply for reply in replies if reply["type"] == "ownership_transferred"]
        assert len(transfers) == 1 or {"NOT_FOUND"} <= {reply.get("code") for reply in replies}
        (bob,) = await enter(stack, server, cast.bob)
        listed = (await bob.ask("get_group_members", groupId=group_id))["members"]
        assert [member["role"] for member in listed].count("owner") == 1
        events = [frame["seq"] for frame in bob.take_all()]
        assert events == list(range(1, len(events) + 1))
