"""Coming and going: whom one can bring in, what newcomers and leavers get of the log, capacity."""

import asyncio
from contextlib import AsyncExitStack
from typing import Any

from tests.cast import Cast, new_person
from tests.client import ChatClient, Frame
from tests.database import in_database
from tests.server import LiveServer
from tests.test_groups import create, enter, profile


def seqs(frames: list[Frame]) -> list[tuple[str, int]]:
    """Return type and seq of each event."""
    return [(frame["type"], frame["seq"]) for frame in frames]


async def say(client: ChatClient, group_id: str, content: str = "x") -> Frame:
    """Write to a group and return the reply."""
    reply = await client.ask("send_group_message", groupId=group_id, content=content)
    assert reply["type"] == "group_message_sent", reply
    return reply


async def test_all_or_nobody_is_added(server: LiveServer, cast: Cast) -> None:
    """One batch check: who does not exist, is blocked or a member refuses the whole, and the details name them."""
    gone = await in_database(lambda: new_person("bob", is_active=False))
    async with AsyncExitStack() as stack:
        ann, bob = await enter(stack, server, cast.ann, cast.bob)
        await bob.ask("block_user", userId=cast.ann.id)
        group_id = await create(ann)
        cases = [
            ([cast.carl.id, "999999999"], "NOT_FOUND", "these users cannot be added: 999999999"),
            ([gone.id, cast.bob.id], "NOT_FOUND", f"these users cannot be added: {gone.id}, {cast.bob.id}"),
            ([cast.carl.id, cast.bob.id], "USER_BLOCKED", f"these users cannot be added: {cast.bob.id}"),
            ([cast.carl.id, cast.ann.id], "ALREADY_MEMBER", f"these users are members: {cast.ann.id}"),
        ]
        for users, code, details in cases:
            refused = await ann.ask("add_group_member", groupId=group_id, userIds=users)
            assert (refused["code"], refused["details"]) == (code, details)
            if code != "ALREADY_MEMBER":
                refused = await ann.ask("create_group", name="Other", memberIds=users)
                assert (refused["code"], refused["details"], refused["field"]) == (code, details, "memberIds")
        unclear: list[dict[str, Any]] = [{}, {"userId": cast.carl.id, "userIds": [cast.carl.id]}, {"userIds": []}]
        for fields in unclear:
            assert (await ann.ask("add_group_member", groupId=group_id, **fields))["code"] == "VALIDATION_ERROR"
        listed = await ann.ask("get_group_members", groupId=group_id)
        assert [member["userId"] for member in listed["members"]] == [cast.ann.id]
        assert (await ann.ask("get_user_groups"))["groups"][0]["memberCount"] == 1
        added = await ann.ask("add_group_member", groupId=group_id, userIds=[cast.carl.id, cast.carl.id])
        assert (added["type"], added["seq"], added["addedBy"]) == ("member_added", 2, cast.ann.id)
        assert added["members"] == [profile(cast.carl, "member")]


async def test_a_newcomer_sees_what_comes_from_then_on(server: LiveServer, cast: Cast) -> None:
    """Online and offline newcomers get their joining and all after it; of before they see nothing, not even quoted."""
    async with AsyncExitStack() as stack:
        ann, bob = await enter(stack, server, cast.ann, cast.bob)
        group_id = await create(ann)
        before = (await say(ann, group_id, "secret"))["message"]["messageId"]
        await ann.ask("add_group_member", groupId=group_id, userIds=[cast.bob.id, cast.carl.id])
        await ann.ask("send_group_message", groupId=group_id, content="quoting", replyToMessageId=before)
        await ann.ask("add_reaction", messageId=before, emoji="+")
        got = [await bob.next() for _ in range(3)]
        assert seqs(got) == [("member_added", 3), ("new_group_message", 4), ("skipped", 5)]
        assert got[1]["message"]["replyTo"] == {"messageId": before, "senderId": cast.ann.id}
        (carl,) = await enter(stack, server, cast.carl)
        assert carl.take_all() == got
        for client in (bob, carl):
            page = await client.ask("get_messages", groupId=group_id, includeTotal=True)
            assert ([each["seq"] for each in page["messages"]], page["total"]) == ([4], 1)
            assert (await client.ask("add_reaction", messageId=before, emoji="+"))["code"] == "NOT_FOUND"
            (row,) = (await client.ask("get_conversations"))["conversations"]
            assert (row["unreadCount"], row["readSeq"]) == (1, 3)


async def test_who_leaves_gets_nothing_more(server: LiveServer, cast: Cast) -> None:
    """The removed and the leaving get that event as their last: on all devices, online, offline, resuming."""
    async with AsyncExitStack() as stack:
        ann, bob, bobs_phone = await enter(stack, server, cast.ann, cast.bob, cast.bob)
        group_id = await create(ann, cast.bob, cast.carl)
        await ann.ask("remove_group_member", groupId=group_id, userId=cast.carl.id)  # away all the time
        left = await bob.ask("leave_group", groupId=group_id)
        assert (left["type"], left["seq"], left["userId"]) == ("member_left", 3, cast.bob.id)
        await say(ann, group_id)
        got = [await bobs_phone.next() for _ in range(3)]
        assert seqs(got) == [("group_created", 1), ("member_removed", 2), ("member_left", 3)]
        (carl,) = await enter(stack, server, cast.carl)
        assert carl.take_all() == got[:2]
        assert got[1]["removedBy"] == cast.ann.id
        await carl.tell("sync", cursors={group_id: 0})
        assert (await carl.until(type="sync_complete"))[:-1] == got[:2]
        for client in (bob, carl):
            assert (await client.ask("get_messages", groupId=group_id))["code"] == "NOT_FOUND"
            refused = await client.ask("send_group_message", groupId=group_id, content="x")
            assert refused["code"] == "NOT_FOUND"
            assert (await client.ask("get_user_groups"))["groups"] == []
            assert (await client.ask("get_conversations"))["conversations"] == []
        await bobs_phone.quiet()


async def test_who_comes_back_gets_each_stretch(server: LiveServer, cast: Cast) -> None:
    """Two stretches, both away: each with its ends, nothing between them; history is that of the last one."""
    async with AsyncExitStack() as stack:
        (ann,) = await enter(stack, server, cast.ann)
        group_id = await create(ann, cast.bob)
        await say(ann, group_id)
        await ann.ask("remove_group_member", groupId=group_id, userId=cast.bob.id)
        await say(ann, group_id, "between")
        await ann.ask("add_group_member", groupId=group_id, userId=cast.bob.id)
        await say(ann, group_id)
        (bob,) = await enter(stack, server, cast.bob)
        expected = [("group_created", 1), ("new_group_message", 2), ("member_removed", 3)]
        expected += [("member_added", 5), ("new_group_message", 6)]
        assert seqs(bob.take_all()) == expected
        page = await bob.ask("get_messages", groupId=group_id)
        assert [each["seq"] for each in page["messages"]] == [6]


async def test_removal_races_messages_in_flight(server: LiveServer, cast: Cast) -> None:
    """With a hundred messages under way, the removed one's last event is their removal; none before it is missing."""
    async with AsyncExitStack() as stack:
        ann, bob, carl = await enter(stack, server, cast.ann, cast.bob, cast.carl)
        group_id = await create(ann, cast.bob, cast.carl)
        await bob.next(type="group_created")
        await carl.next(type="group_created")
        sends = [asyncio.ensure_future(say(carl, group_id, str(number))) for number in range(100)]
        removed = await ann.ask("remove_group_member", groupId=group_id, userId=cast.bob.id)
        await asyncio.gather(*sends)
        last = await bob.until(type="member_removed")
        assert [frame["seq"] for frame in last] == list(range(2, removed["seq"] + 1))
        await bob.quiet()
        everything = await carl.ask("get_messages", groupId=group_id, limit=200)
        assert len(everything["messages"]) == 100


async def test_a_muted_member_cannot_write(server: LiveServer, cast: Cast) -> None:
    """Muting stops messages and edits for its time, survives leaving, and shows in the list of members."""
    async with AsyncExitStack() as stack:
        ann, bob = await enter(stack, server, cast.ann, cast.bob)
        group_id = await create(ann, cast.bob)
        own = (await say(bob, group_id))["message"]["messageId"]
        muted = await ann.ask("mute_member", groupId=group_id, userId=cast.bob.id, minutes=5)
        assert muted["until"] > muted["timestamp"]
        refused = await bob.ask("send_group_message", groupId=group_id, content="x")
        assert refused["code"] == "MEMBER_MUTED"
        assert (await bob.ask("update_message", messageId=own, content="y"))["code"] == "MEMBER_MUTED"
        forever = await ann.ask("mute_member", groupId=group_id, userId=cast.bob.id)
        assert forever["until"] is None
        again = await ann.ask("mute_member", groupId=group_id, userId=cast.bob.id)
        assert (again["changed"], "seq" in again) == (False, False)
        await bob.ask("leave_group", groupId=group_id)
        await ann.ask("add_group_member", groupId=group_id, userId=cast.bob.id)
        refused = await bob.ask("send_group_message", groupId=group_id, content="x")
        assert refused["code"] == "MEMBER_MUTED"
        listed = await bob.ask("get_group_members", groupId=group_id)
        assert [(each["role"], each["isMuted"]) for each in listed["members"]] == [("owner", False), ("member", True)]
        unmuted = await ann.ask("unmute_member", groupId=group_id, userId=cast.bob.id)
        assert (unmuted["type"], unmuted["until"]) == ("member_unmuted", None)
        again = await ann.ask("unmute_member", groupId=group_id, userId=cast.bob.id)
        assert again["changed"] is False
        await say(bob, group_id)


async def test_nobody_is_one_too_many(server: LiveServer, cast: Cast) -> None:
    """However many join at the same time, a community has at most as many members as it may have."""
    people = await in_database(lambda: [new_person("bob") for _ in range(12)])
    async with AsyncExitStack() as stack:
        (ann,) = await enter(stack, server, cast.ann)
        crowd = await enter(stack, server, *people)
        made = await ann.ask("create_community", name="Small", maxMembers=8)
        replies = await asyncio.gather(*(one.ask("join_community", communityId=made["groupId"]) for one in crowd))
        kinds = [reply.get("code", reply["type"]) for reply in replies]
        assert (kinds.count("member_joined"), kinds.count("GROUP_FULL")) == (7, 5)
        refused = await ann.ask("add_group_member", groupId=made["groupId"], userId=cast.bob.id)
        assert refused["code"] == "GROUP_FULL"
        info = await ann.ask("get_group_info", groupId=made["groupId"])
        assert info["group"]["memberCount"] == 8
        listed = await ann.ask("get_group_members", groupId=made["groupId"])
        assert len(listed["members"]) == 8


async def test_members_are_listed_page_by_page(server: LiveServer, cast: Cast) -> None:
    """In the order of their joining, each once, also when somebody leaves between two pages."""
    async with AsyncExitStack() as stack:
        (ann,) = await enter(stack, server, cast.ann)
        group_id = await create(ann, cast.bob, cast.carl, cast.mallory)
        first = await ann.ask("get_group_members", groupId=group_id, limit=2)
        assert ([each["userId"] for each in first["members"]], first["hasMore"]) == ([cast.ann.id, cast.bob.id], True)
        await ann.ask("remove_group_member", groupId=group_id, userId=cast.bob.id)
        second = await ann.ask("get_group_members", groupId=group_id, limit=2, before=first["nextCursor"])
        assert [each["userId"] for each in second["members"]] == [cast.carl.id, cast.mallory.id]
        assert (second["hasMore"], second["nextCursor"]) == (False, None)
        refused = await ann.ask("get_group_members", groupId=group_id, before="nonsense")
        assert (refused["code"], refused["field"]) == ("VALIDATION_ERROR", "before")
