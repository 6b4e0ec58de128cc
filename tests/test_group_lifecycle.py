"""What becomes of a group: changing it, pinning in it, deleting, restoring, purging it, and losing its owner."""

import datetime as dt
from contextlib import AsyncExitStack
from typing import Any

import pytest
from django.db import transaction
from django.utils import timezone

from groups.models import Group
from groups.services.ending import purge_expired
from messaging.delivery.doors import write_lock
from messaging.models import Conversation, Event, Message
from tests.cast import Cast
from tests.client import Frame
from tests.database import in_database
from tests.server import LiveServer
from tests.test_group_members import say, seqs
from tests.test_groups import create, enter


async def test_a_group_is_described_anew(server: LiveServer, cast: Cast) -> None:
    """Only what differs is named in the event; nothing different is confirmed without one."""
    async with AsyncExitStack() as stack:
        ann, bob = await enter(stack, server, cast.ann, cast.bob)
        group_id = await create(ann, cast.bob)
        await bob.next(type="group_created")
        reply = await ann.ask("update_group", groupId=group_id, name="Plans", maxMembers=2, postingPolicy="admins")
        assert reply["changes"] == {"maxMembers": 2, "postingPolicy": "admins"}
        event = await bob.next()
        assert (event["type"], event["changes"], event["updatedBy"]) == (
            "group_info_updated",
            reply["changes"],
            cast.ann.id,
        )
        again = await ann.ask("update_group", groupId=group_id, maxMembers=2)
        assert (again["changed"], again["changes"], "seq" in again) == (False, {}, False)
        refused = await bob.ask("send_group_message", groupId=group_id, content="x")
        assert refused["code"] == "INSUFFICIENT_PERMISSIONS"
        info = (await bob.ask("get_group_info", groupId=group_id))["group"]
        assert (info["maxMembers"], info["postingPolicy"], info["role"]) == (2, "admins", "member")


WRONG: list[tuple[str, dict[str, Any], str]] = [
    ("create_group", {"name": " "}, "name"),
    ("create_group", {"name": "x" * 101}, "name"),
    ("create_group", {"name": "x", "description": "x" * 501}, "description"),
    ("create_group", {"name": "x", "maxMembers": 1}, "maxMembers"),
    ("create_group", {"name": "x", "maxMembers": 1_001}, "maxMembers"),
    ("create_group", {"name": "x", "memberIds": ["1"] * 51}, "memberIds"),
    ("create_community", {"name": "x", "maxMembers": 100_001}, "maxMembers"),
    ("create_community", {"name": "x", "postingPolicy": "nobody"}, "postingPolicy"),
    ("update_group", {}, "name"),
    ("update_group", {"name": ""}, "name"),
    ("update_group", {"maxMembers": 1_001}, "maxMembers"),
    ("mute_member", {"userId": "1", "minutes": 0}, "minutes"),
    ("get_group_members", {"limit": 201}, "limit"),
    ("get_communities", {"before": "x"}, "before"),
    ("get_user_groups", {"before": "x"}, "before"),
]


@pytest.mark.any_stack
async def test_wrong_values_are_named(server: LiveServer, cast: Cast) -> None:
    """Each value out of its range is refused with its field."""
    async with AsyncExitStack() as stack:
        (ann,) = await enter(stack, server, cast.ann)
        group_id = await create(ann)
        for request_type, fields, field in WRONG:
            where: dict[str, Any] = (
                {} if request_type.startswith(("create", "get_communities", "get_user")) else {"groupId": group_id}
            )
            refused = await ann.ask(request_type, **where, **fields)
            assert (refused["code"], refused["field"]) == ("VALIDATION_ERROR", field), refused
        await ann.ask("add_group_member", groupId=group_id, userIds=[cast.bob.id, cast.carl.id])
        refused = await ann.ask("update_group", groupId=group_id, maxMembers=2)
        assert (refused["code"], refused["field"]) == ("VALIDATION_ERROR", "maxMembers")


async def test_pins(server: LiveServer, cast: Cast) -> None:
    """Pins are listed, the newest first, once each, at most 50; a deleted message is pinned no more."""
    async with AsyncExitStack() as stack:
        ann, bob = await enter(stack, server, cast.ann, cast.bob)
        group_id = await create(ann, cast.bob)
        old = (await say(ann, group_id, "old"))["messageId"]
        await ann.ask("add_group_member", groupId=group_id, userId=cast.carl.id)
        (carl,) = await enter(stack, server, cast.carl)
        ids = [(await say(bob, group_id))["messageId"] for _ in range(50)]
        for message_id in (old, *ids[:49]):
            pinned = await ann.ask("pin_message", groupId=group_id, messageId=message_id)
            assert (pinned["type"], pinned["by"]) == ("message_pinned", cast.ann.id)
        refused = await ann.ask("pin_message", groupId=group_id, messageId=ids[49])
        assert refused["code"] == "CONFLICT"
        assert (await ann.ask("pin_message", groupId=group_id, messageId=old))["changed"] is False
        listed = (await bob.ask("get_pinned_messages", groupId=group_id))["messages"]
        assert [each["messageId"] for each in listed] == [*reversed(ids[:49]), old]
        assert all(each["isPinned"] for each in listed)
        listed = (await carl.ask("get_pinned_messages", groupId=group_id))["messages"]
        assert len(listed) == 49  # the first pin is from before
        assert (await carl.next(type="skipped"))["conversationId"] == group_id
        await bob.ask("delete_message", messageId=ids[0], forEveryone=True)
        unpinned = await ann.ask("unpin_message", groupId=group_id, messageId=old)
        assert unpinned["type"] == "message_unpinned"
        assert (await ann.ask("unpin_message", groupId=group_id, messageId=old))["changed"] is False
        assert (await ann.ask("pin_message", groupId=group_id, messageId=ids[0]))["code"] == "CONFLICT"
        listed = (await bob.ask("get_pinned_messages", groupId=group_id))["messages"]
        assert [each["messageId"] for each in listed] == list(reversed(ids[1:49]))
        elsewhere = await create(ann)
        refused = await ann.ask("pin_message", groupId=elsewhere, messageId=ids[5])
        assert refused["code"] == "NOT_FOUND"


async def test_a_deleted_group_can_be_restored(server: LiveServer, cast: Cast) -> None:
    """All members learn of both, also those who were away; in between only its owner can do anything: restore it."""
    async with AsyncExitStack() as stack:
        ann, bob = await enter(stack, server, cast.ann, cast.bob)
        group_id = await create(ann, cast.bob, cast.carl)
        message_id = (await say(ann, group_id))["messageId"]
        deleted = await ann.ask("delete_group", groupId=group_id)
        assert (deleted["permanent"], deleted["seq"]) == (False, 3)
        grace = dt.datetime.fromisoformat(deleted["purgeAt"]) - dt.datetime.fromisoformat(deleted["timestamp"])
        assert abs(grace - dt.timedelta(days=30)) < dt.timedelta(seconds=1)
        expected = [("group_created", 1), ("new_group_message", 2), ("group_deleted", 3)]
        assert seqs([await bob.next() for _ in range(3)]) == expected
        (carl,) = await enter(stack, server, cast.carl)
        assert seqs(carl.take_all()) == expected
        for client in (ann, bob):
            for request_type in ("get_group_info", "get_messages", "delete_group", "leave_group"):
                assert (await client.ask(request_type, groupId=group_id))["code"] == "NOT_FOUND"
            refused = await client.ask("send_group_message", groupId=group_id, content="x")
            assert refused["code"] == "NOT_FOUND"
            assert (await client.ask("add_reaction", messageId=message_id, emoji="+"))["code"] == "NOT_FOUND"
            assert (await client.ask("get_user_groups"))["groups"] == []
            assert (await client.ask("get_conversations"))["conversations"] == []
        assert (await bob.ask("restore_group", groupId=group_id))["code"] == "NOT_FOUND"
        restored = await ann.ask("restore_group", groupId=group_id)
        assert (restored["type"], restored["seq"]) == ("group_restored", 4)
        assert seqs([await bob.next(), await carl.next()]) == [("group_restored", 4)] * 2
        assert (await ann.ask("restore_group", groupId=group_id))["code"] == "CONFLICT"
        await say(bob, group_id)


async def test_a_group_deleted_for_good(server: LiveServer, cast: Cast) -> None:
    """Its content is gone from the database at once; its last event still reaches who was away."""
    async with AsyncExitStack() as stack:
        ann, bob = await enter(stack, server, cast.ann, cast.bob)
        group_id = await create(ann, cast.bob, cast.carl)
        sent = await say(ann, group_id, f"@{cast.bob.name}")
        await bob.ask("add_reaction", messageId=sent["messageId"], emoji="+")
        await ann.ask("send_group_message", groupId=group_id, content="x", replyToMessageId=sent["messageId"])
        await bob.ask("delete_message", messageId=sent["messageId"])
        deleted = await ann.ask("delete_group", groupId=group_id, permanent=True)
        assert (deleted["permanent"], deleted["purgeAt"]) == (True, None)
        assert (await bob.next(type="group_deleted"))["seq"] == deleted["seq"]
        assert await in_database(lambda: _left_of(group_id)) == (0, [deleted["seq"]], 0)
        (carl,) = await enter(stack, server, cast.carl)
        assert seqs(carl.take_all()) == [("group_deleted", deleted["seq"])]
        assert (await ann.ask("restore_group", groupId=group_id))["code"] == "NOT_FOUND"
        assert (await carl.ask("get_conversations"))["conversations"] == []


def _left_of(group_id: str) -> tuple[int, list[int], int]:
    events = Event.objects.filter(conversation_id=group_id).values_list("seq", flat=True)
    messages = Message.objects.filter(conversation_id=group_id).count()
    return messages, list(events), Group.objects.filter(conversation_id=group_id).count()


async def test_groups_are_purged_after_their_grace(server: LiveServer, cast: Cast) -> None:
    """A group deleted 30 days ago is purged, one deleted yesterday is not."""
    async with AsyncExitStack() as stack:
        (ann,) = await enter(stack, server, cast.ann)
        old, fresh = await create(ann), await create(ann)
        for group_id in (old, fresh):
            await say(ann, group_id)
            await ann.ask("delete_group", groupId=group_id)

        def purge() -> int:
            for group_id, days in ((old, 31), (fresh, 29)):
                then = timezone.now() - dt.timedelta(days=days)
                Group.objects.filter(conversation_id=group_id).update(deleted_at=then)
            with write_lock(), transaction.atomic():
                return purge_expired(limit=10)

        assert await in_database(purge) == 1
        assert await in_database(lambda: (_left_of(old)[0], _left_of(fresh)[0])) == (0, 1)
        assert (await ann.ask("restore_group", groupId=old))["code"] == "NOT_FOUND"
        assert (await ann.ask("restore_group", groupId=fresh))["type"] == "group_restored"


async def test_a_deleted_owner_is_followed(server: LiveServer, cast: Cast) -> None:
    """A deleted account's groups pass to the oldest admin, else the oldest member; one of its own alone is deleted."""
    async with AsyncExitStack() as stack:
        ann, bob, carl = await enter(stack, server, cast.ann, cast.bob, cast.carl)
        with_admin = await create(ann, cast.bob, cast.carl)
        await ann.ask("promote_member", groupId=with_admin, userId=cast.carl.id)
        without, alone = await create(ann, cast.bob), await create(ann)
        as_member = await create(bob, cast.ann)
        await carl.until(type="member_promoted")
        ann_id = cast.ann.id
        await in_database(cast.ann.user.delete)
        assert await ann.closed() == 4403
        heard: list[Frame] = [await carl.next(), await carl.next()]
        assert [frame["type"] for frame in heard] == ["ownership_transferred", "member_left"]
        assert (heard[0]["from"], heard[0]["to"], heard[1]["userId"]) == (ann_id, cast.carl.id, ann_id)
        owners = {group["groupId"]: group["ownerId"] for group in (await bob.ask("get_user_groups"))["groups"]}
        assert owners == {with_admin: cast.carl.id, without: cast.bob.id, as_member: cast.bob.id}
        for group_id in owners:
            listed = await bob.ask("get_group_members", groupId=group_id)
            info = await bob.ask("get_group_info", groupId=group_id)
            assert info["group"]["memberCount"] == len(listed["members"])
        state = await in_database(lambda: Conversation.objects.get(pk=alone).state)
        assert state == Conversation.State.DELETED
