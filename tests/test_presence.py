"""Presence: who is told that somebody came or went, across workers, and who is not."""

import asyncio
import uuid
from collections.abc import Callable
from contextlib import AsyncExitStack
from datetime import timedelta

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from messaging.delivery.doors import write_lock
from presence import services
from presence.models import Connection, Presence, Worker
from presence.services import Arrival
from tests.cast import Cast, Person, new_person
from tests.client import PRESENCE, ChatClient
from tests.database import in_database
from tests.server import LiveServer
from tests.test_groups import create


async def enter(stack: AsyncExitStack, server: LiveServer, *people: Person) -> list[ChatClient]:
    """Connect some people who look at presence."""
    clients = [await stack.enter_async_context(ChatClient(server.url, each.token, ignoring=())) for each in people]
    await asyncio.gather(*(client.connect() for client in clients))
    return clients


async def befriend(client: ChatClient, *others: Person) -> None:
    """Start a conversation with some people, which makes them contacts."""
    for other in others:
        assert (await client.ask("start_conversation", recipientId=other.id))["type"] == "conversation_started"


async def status(client: ChatClient, person: Person) -> str:
    """Return what a client reads of somebody's presence."""
    (found,) = (await client.ask("get_presence", userIds=[person.id]))["users"]
    assert found["userId"] == person.id
    text: str = found["status"]
    return text


async def test_contacts_are_told(start_server: Callable[..., LiveServer], cast: Cast) -> None:
    """Contacts hear of the first connection that opens and, a while after the last has closed, that it has."""
    server = start_server(OFFLINE_GRACE_PERIOD=1)
    async with AsyncExitStack() as stack:
        ann, mallory = await enter(stack, server, cast.ann, cast.mallory)
        await befriend(ann, cast.bob)
        async with ChatClient(server.url, cast.bob.token) as bob, ChatClient(server.url, cast.bob.token) as phone:
            await bob.connect()
            came = await ann.next(type="user_online")
            assert came["user"]["username"] == cast.bob.name
            await phone.connect()
            (seen,) = (await ann.ask("get_online_users"))["users"]
            assert (seen["userId"], seen["lastSeen"]) == (cast.bob.id, came["lastSeen"])
            assert (await status(ann, cast.bob), await status(mallory, cast.bob)) == ("online", "offline")
            await bob.ask("send_message", recipientId=cast.ann.id, content="x")
            await ann.next(type="new_message")
        assert (await ann.ask("send_message", recipientId=cast.bob.id, content="x"))["recipientOnline"] is True
        went = await ann.next(type="user_offline")
        assert (went["user"]["userId"], went["lastSeen"] > came["lastSeen"]) == (cast.bob.id, True)
        assert await status(ann, cast.bob) == "offline"
        assert (await ann.ask("get_online_users"))["users"] == []
        assert (await ann.ask("send_message", recipientId=cast.bob.id, content="x"))["recipientOnline"] is False
        assert ann.take_all(*PRESENCE) == []
        assert mallory.take_all() == []


async def test_back_in_time_is_never_gone(start_server: Callable[..., LiveServer], cast: Cast) -> None:
    """Going and coming back within the grace period tells nobody anything."""
    server = start_server(OFFLINE_GRACE_PERIOD=3)
    async with AsyncExitStack() as stack:
        (ann,) = await enter(stack, server, cast.ann)
        await befriend(ann, cast.bob)
        for _ in range(2):
            async with ChatClient(server.url, cast.bob.token) as bob:
                await bob.connect()
                await asyncio.sleep(0.5)
            await asyncio.sleep(0.5)
            assert await status(ann, cast.bob) == "online"
        (bob,) = await enter(stack, server, cast.bob)
        await asyncio.sleep(3)
        assert [frame["type"] for frame in ann.take_all()] == ["user_online"]


async def test_who_is_not_told(server: LiveServer, cast: Cast) -> None:
    """Nobody with a block, either way, hears or reads of the other; a community makes no contacts, a group does."""
    new_bob = await in_database(lambda: new_person("bob"))
    async with AsyncExitStack() as stack:
        ann, carl, mallory = await enter(stack, server, cast.ann, cast.carl, cast.mallory)
        await befriend(ann, cast.bob)
        await create(carl, cast.bob)
        made = await mallory.ask("create_community", name="x", memberIds=[cast.bob.id])
        assert made["type"] == "group_created"
        await ann.ask("block_user", userId=cast.bob.id)
        (bob,) = await enter(stack, server, cast.bob)
        assert (await carl.next(type="user_online"))["user"]["userId"] == cast.bob.id
        assert [await status(each, cast.bob) for each in (ann, carl, mallory)] == ["offline", "online", "offline"]
        assert [await status(bob, each) for each in (cast.ann, cast.carl)] == ["offline", "online"]
        assert [each["userId"] for each in (await bob.ask("get_online_users"))["users"]] == [cast.carl.id]
        await mallory.ask("follow_user", userId=cast.bob.id)
        assert await status(mallory, cast.bob) == "online"
        assert ann.take_all(*PRESENCE) + mallory.take_all(*PRESENCE) == []
        group_id = (await carl.ask("get_user_groups"))["groups"][0]["groupId"]
        await carl.ask("add_group_member", groupId=group_id, userId=new_bob.id)
        listed = (await carl.ask("get_group_members", groupId=group_id))["members"]
        assert [member["isOnline"] for member in listed] == [True, True, False]
        for wrong in ([], ["1"] * 101, [1], "x"):
            assert (await ann.ask("get_presence", userIds=wrong))["field"] == "userIds"
        strange = await ann.ask("get_presence", userIds=["999999999", "x", cast.ann.id])
        assert [each["status"] for each in strange["users"]] == ["offline", "offline", "online"]


async def test_everyone_may_be_told(start_server: Callable[..., LiveServer], cast: Cast) -> None:
    """With PRESENCE_SCOPE everyone, strangers are told too, but for who has a block."""
    server = start_server(PRESENCE_SCOPE="everyone")
    async with AsyncExitStack() as stack:
        ann, mallory = await enter(stack, server, cast.ann, cast.mallory)
        await mallory.ask("block_user", userId=cast.bob.id)
        ann.take_all()
        await enter(stack, server, cast.bob)
        while (await ann.next(type="user_online"))["user"]["userId"] != cast.bob.id:
            pass
        assert (await status(ann, cast.bob), await status(mallory, cast.bob)) == ("online", "offline")
        assert cast.bob.id not in [frame["user"]["userId"] for frame in mallory.take_all(*PRESENCE)]


@pytest.mark.postgres_only
@pytest.mark.parametrize("redis", ["with", "without"])
async def test_presence_crosses_workers(start_server: Callable[..., LiveServer], cast: Cast, redis: str) -> None:
    """A contact on another server hears of coming and going, with Redis and without, also when it is killed."""
    fields = {} if redis == "with" else {"REDIS_URL": None}
    one, other = start_server(OFFLINE_GRACE_PERIOD=1, **fields), start_server(OFFLINE_GRACE_PERIOD=1, **fields)
    async with AsyncExitStack() as stack:
        (ann,) = await enter(stack, one, cast.ann)
        await befriend(ann, cast.bob)
        async with ChatClient(other.url, cast.bob.token) as bob:
            await bob.connect()
            assert (await ann.next(type="user_online"))["user"]["userId"] == cast.bob.id
            assert (await ann.ask("send_message", recipientId=cast.bob.id, content="x"))["recipientOnline"] is True
            other.kill()
        assert await status(ann, cast.bob) == "online"
        await in_database(lambda: _let_lapse(cast.bob))
        assert (await ann.next(type="user_offline"))["user"]["userId"] == cast.bob.id
        other.start()
        async with ChatClient(other.url, cast.bob.token) as bob:
            await bob.connect()
            await ann.next(type="user_online")
        assert other.stop() == 0
        await ann.next(type="user_offline")
        other.start()


def _let_lapse(person: Person) -> None:
    """Let the lease of the worker that holds somebody's connections end now instead of in half a minute."""
    worker = Connection.objects.filter(user=person.user).values("worker_id")
    assert Worker.objects.filter(pk__in=worker).update(lease_until=timezone.now() - timedelta(seconds=1)) == 1


async def test_many_at_once_cost_what_one_costs(live_database: None, cast: Cast) -> None:
    """Arrivals, departures, the end of a worker and lists take as many statements for one as for twenty."""

    def cost(count: int) -> list[int]:
        worker_id = uuid.uuid4().hex
        arrivals = [Arrival(str(uuid.uuid4()), new_person("bob").user.pk, "::1") for _ in range(count + 1)]
        departures = [each.client_id for each in arrivals]
        users = [each.user for each in arrivals]
        counts = []
        for work in (
            lambda: services.renew_lease(worker_id),
            lambda: services.count_connections(worker_id, arrivals, []),
            lambda: services.count_connections(worker_id, [], departures[:1]),
            lambda: services.end_worker(worker_id),
            lambda: services.online_among(users),
            lambda: services.online_users(cast.ann.user.pk),
        ):
            with write_lock(), CaptureQueriesContext(connection) as captured, transaction.atomic():
                work()
            counts.append(len(captured))
        assert Presence.objects.filter(user_id__in=users, is_online=True).count() == count + 1
        return counts

    one, many = await in_database(lambda: cost(1)), await in_database(lambda: cost(20))
    assert one == many
