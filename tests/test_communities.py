"""Communities: found and joined freely, open history, and what an event costs in a large one."""

from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any
from uuid import uuid4

from django.contrib.auth.models import User
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from groups.models import Group, Membership
from groups.services import members
from messaging.delivery.doors import write_lock
from messaging.models import Event, Interval, Participant
from tests.cast import Cast, new_person
from tests.client import ChatClient
from tests.database import in_database
from tests.server import LiveServer
from tests.test_group_members import say
from tests.test_groups import enter


async def create(client: ChatClient, **fields: Any) -> str:
    """Create a community and return its id."""
    reply = await client.ask("create_community", **{"name": "Chess"} | fields)
    assert reply["type"] == "group_created", reply
    group_id: str = reply["groupId"]
    return group_id


async def test_joining_and_leaving(server: LiveServer, cast: Cast) -> None:
    """Anyone joins a public community and sees its whole history; a private one is joined by nobody."""
    async with AsyncExitStack() as stack:
        ann, bob = await enter(stack, server, cast.ann, cast.bob)
        public, private = await create(ann), await create(ann, isPublic=False)
        old = await say(ann, public, "old")
        joined = await bob.ask("join_community", communityId=public)
        assert (joined["type"], joined["seq"], joined["user"]["username"]) == ("member_joined", 3, cast.bob.name)
        assert (await ann.next(type="member_joined"))["user"] == joined["user"]
        await bob.ask("add_reaction", messageId=old["messageId"], emoji="+")
        page = await bob.ask("get_messages", groupId=public)
        assert [each["content"] for each in page["messages"]] == ["old"]
        (row,) = (await bob.ask("get_conversations"))["conversations"]
        assert (row["unreadCount"], row["kind"], row["group"]["memberCount"]) == (0, "community", 2)
        assert (await bob.ask("join_community", communityId=public))["code"] == "ALREADY_MEMBER"
        for other in (private, str(uuid4())):
            assert (await bob.ask("join_community", communityId=other))["code"] == "NOT_FOUND"
        left = await bob.ask("leave_community", communityId=public)
        assert (left["type"], left["userId"]) == ("member_left", cast.bob.id)
        assert (await ann.ask("leave_community", communityId=public))["code"] == "OWNER_CANNOT_LEAVE"
        plain = (await ann.ask("create_group", name="x", memberIds=[cast.bob.id]))["groupId"]
        for request_type in ("join_community", "leave_community"):
            assert (await bob.ask(request_type, communityId=plain))["code"] == "NOT_FOUND"


async def test_strangers_and_a_public_community(server: LiveServer, cast: Cast) -> None:
    """They see what it is, are told to join for the rest, and learn nothing of its messages."""
    async with AsyncExitStack() as stack:
        ann, mallory = await enter(stack, server, cast.ann, cast.mallory)
        public, private = await create(ann), await create(ann, isPublic=False)
        message_id = (await say(ann, public))["messageId"]
        info = await mallory.ask("get_group_info", groupId=public)
        assert (info["group"]["memberCount"], info["group"]["role"]) == (1, None)
        requests: list[tuple[str, dict[str, Any]]] = [
            ("send_group_message", {"content": "x"}),
            ("get_group_messages", {}),
            ("get_messages", {}),
            ("get_group_members", {}),
            ("get_pinned_messages", {}),
            ("update_group", {"name": "x"}),
            ("leave_group", {}),
            ("delete_group", {}),
            ("restore_group", {}),
        ]
        for request_type, fields in requests:
            refused = await mallory.ask(request_type, groupId=public, **fields)
            assert refused["code"] == "ACCESS_DENIED", refused
            assert (await mallory.ask(request_type, groupId=private, **fields))["code"] == "NOT_FOUND"
        refused = await mallory.ask("send_message", conversationId=public, content="x")
        assert refused["code"] == "ACCESS_DENIED"
        asked = {"emoji": "+", "requestId": "r"}
        refused = await mallory.ask("add_reaction", messageId=message_id, **asked)
        assert refused == await mallory.ask("add_reaction", messageId=str(uuid4()), **asked)
        await ann.ask("delete_group", groupId=public)
        assert (await mallory.ask("get_messages", groupId=public))["code"] == "NOT_FOUND"


async def test_communities_are_found(server: LiveServer, cast: Cast) -> None:
    """By each word in name or description, in any case, the largest first, page by page; private ones by members."""
    word = uuid4().hex
    async with AsyncExitStack() as stack:
        ann, bob = await enter(stack, server, cast.ann, cast.bob)
        small = await create(ann, name=f"Small {word}", description="Open Games")
        large = await create(ann, name="Large", description=f"games {word.upper()}", memberIds=[cast.carl.id])
        hidden = await create(ann, name=f"Hidden {word}", isPublic=False)
        await create(ann, name="Something else")

        async def find(client: ChatClient, **fields: Any) -> list[str]:
            found = await client.ask("get_communities", **{"query": word} | fields)
            return [each["groupId"] for each in found["communities"]]

        assert await find(bob) == [large, small]
        assert await find(bob, query=f"{word} open") == [small]
        assert await find(bob, query=f"{word} 100%") == []
        assert await find(ann) == [large, *sorted((small, hidden))]
        assert (await find(ann, joined=False), await find(bob, joined=True)) == ([], [])
        assert await find(bob, joined=False) == [large, small]
        first = await bob.ask("get_communities", query=word, limit=1)
        assert (first["communities"][0]["role"], first["hasMore"]) == (None, True)
        await bob.ask("join_community", communityId=small)
        assert await find(bob, limit=1, before=first["nextCursor"]) != [large]
        assert await find(bob, joined=True) == [small]
        await ann.ask("delete_group", groupId=large)
        assert await find(bob) == [small]


def seat_crowd(community_id: str, count: int) -> None:
    """Seat many people who are not there, by few statements."""
    users = User.objects.bulk_create(User(username=uuid4().hex) for _ in range(count))
    group = Group.objects.get(conversation_id=community_id)
    Group.objects.filter(pk=group.pk).update(member_count=group.member_count + count)
    Membership.objects.bulk_create(Membership(group=group, user=user) for user in users)
    places = Participant.objects.bulk_create(
        Participant(conversation_id=community_id, user=user, delivered_seq=1, read_seq=1) for user in users
    )
    Interval.objects.bulk_create(Interval(participant=place, from_seq=1) for place in places)


async def test_an_event_in_a_crowd_costs_one_row(server: LiveServer, cast: Cast) -> None:
    """In a community of ten thousand, a message, a joining and a leaving each add one event and touch no one's rows."""
    people = await in_database(lambda: [new_person("bob") for _ in range(5)])
    async with AsyncExitStack() as stack:
        (ann,) = await enter(stack, server, cast.ann)
        community = await create(ann, maxMembers=20_000)
        await in_database(lambda: seat_crowd(community, 10_000))
        crowd = await enter(stack, server, *people)
        for one in crowd:
            await one.ask("join_community", communityId=community)
        before = await in_database(lambda: _rows(community))
        sent = await say(ann, community)
        assert await in_database(lambda: _rows(community)) == (before[0] + 1, before[1])
        for one in crowd:
            frames = await one.until(type="new_group_message")
            assert frames[-1]["seq"] == sent["seq"]
        bob = cast.bob.user.pk
        assert await in_database(lambda: _cost(members.join_community, bob, community)) == JOIN_STATEMENTS
        assert await in_database(lambda: _cost(members.leave_group, bob, community)) == LEAVE_STATEMENTS
        listed = await ann.ask("get_group_members", groupId=community, limit=200)
        assert (len(listed["members"]), listed["hasMore"]) == (200, True)


JOIN_STATEMENTS = 12
LEAVE_STATEMENTS = 10


def _rows(community_id: str) -> tuple[int, int]:
    """Return the number of events, and a sum over the rows of all participants."""
    places = Participant.objects.filter(conversation_id=community_id)
    touched = sum(hash(place) for place in places.values_list("id", "read_seq", "changed_at"))
    return Event.objects.filter(conversation_id=community_id).count(), touched


def _cost(service: Callable[..., object], *args: object) -> int:
    """Return the number of statements of a service."""
    with write_lock(), CaptureQueriesContext(connection) as captured, transaction.atomic():
        service(*args)
    kinds = ("SELECT", "INSERT", "UPDATE", "DELETE")
    return sum(query["sql"].startswith(kinds) for query in captured)
