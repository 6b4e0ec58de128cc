"""What was missed comes back: resume, sync, acknowledgements, several workers, and readers who come and go."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from messaging.models import Event, Message, Participant
from tests.cast import Cast, Person
from tests.client import ChatClient
from tests.database import in_database
from tests.server import LiveServer


async def send_many(server: LiveServer, sender: Person, to: Person, count: int) -> str:
    """Send numbered messages, many in flight, and return the conversation."""
    async with ChatClient(server.url, sender.token) as client:
        await client.connect()
        asks = [
            client.ask("send_message", recipientId=to.id, content=str(n), clientMessageId=str(n)) for n in range(count)
        ]
        replies = [reply for start in range(0, count, 50) for reply in await asyncio.gather(*asks[start : start + 50])]
    assert sorted(reply["seq"] for reply in replies) == list(range(1, count + 1))
    return str(replies[0]["conversationId"])


async def test_resume_and_sync_set_the_position(server: LiveServer, cast: Cast) -> None:
    """After a cursor everything comes once more, in order; beyond the end is the end."""
    conversation = await send_many(server, cast.ann, cast.bob, 10)
    async with ChatClient(server.url, cast.bob.token) as bob:
        await bob.connect()
        assert [frame["seq"] for frame in bob.take_all("new_message")] == list(range(1, 11))
        await bob.tell("sync", cursors={conversation: 7}, requestId="s")
        assert [(await bob.next(type="new_message"))["seq"] for _ in range(3)] == [8, 9, 10]
        done = await bob.next(type="sync_complete")
        assert (done["delivered"], done["hasMore"], done["requestId"]) == (3, False, "s")
    async with ChatClient(server.url, cast.bob.token) as bob:
        await bob.connect(resume={conversation: 4})
        assert [frame["seq"] for frame in bob.take_all("new_message")] == list(range(5, 11))
    async with ChatClient(server.url, cast.bob.token) as bob:
        await bob.connect(resume={conversation: 4_000})
        await bob.quiet()


async def test_what_is_not_acknowledged_comes_again(server: LiveServer, cast: Cast) -> None:
    """With `ack`, only acknowledged events count as delivered; `ping` acknowledges too."""
    conversation = await send_many(server, cast.ann, cast.bob, 5)
    for request, first in (("ack", 1), ("ping", 3), ("ack", 5)):
        async with ChatClient(server.url, cast.bob.token) as bob:
            await bob.connect(ack=True)
            assert [frame["seq"] for frame in bob.take_all("new_message")] == list(range(first, 6))
            await bob.tell(request, cursors={conversation: first + 1})
            await bob.ask("ping")


async def test_a_long_queue_is_incomplete(server: LiveServer, cast: Cast) -> None:
    """Of a queue beyond 1,000 events the first 1,000 come; the client syncs on and gets the rest."""
    conversation = await send_many(server, cast.ann, cast.bob, 1_020)
    async with ChatClient(server.url, cast.bob.token) as bob:
        await bob.ask("connect", token=cast.bob.token)
        done = await bob.next(type="sync_complete")
        assert (done["delivered"], done["hasMore"], done["incomplete"]) == (1_000, True, [conversation])
        assert [frame["seq"] for frame in bob.take_all("new_message")] == list(range(1, 1_001))
        await bob.tell("sync", cursors={conversation: 1_000})
        assert [(await bob.next(type="new_message"))["seq"] for _ in range(20)] == list(range(1_001, 1_021))
        assert (await bob.next(type="sync_complete"))["incomplete"] == []


async def test_many_senders_into_one_conversation(server: LiveServer, cast: Cast) -> None:
    """Twenty connections of two people send at once: the log is gapless, and everyone sees it in order, once."""
    clients = [ChatClient(server.url, person.token) for person in (cast.ann, cast.bob) for _ in range(10)]
    for client in clients:
        await client.__aenter__()
        await client.connect()
    others = {cast.ann.token: cast.bob.id, cast.bob.token: cast.ann.id}
    seen: dict[int, list[int]] = {}
    for client in clients:
        for number in range(10):
            to = others[client.token or ""]
            await client.tell("send_message", recipientId=to, content="x", clientMessageId=f"{id(client)}-{number}")
    for index, client in enumerate(clients):
        seen[index] = [(await client.next(seconds=30))["seq"] for _ in range(200)]
    for client in clients:
        await client.__aexit__(None, None, None)
    assert all(seqs == list(range(1, 201)) for seqs in seen.values())


async def test_reconnecting_while_messages_flow(server: LiveServer, cast: Cast) -> None:
    """A client that comes and goes with its cursor sees every event once."""
    seen: list[int] = []
    async with ChatClient(server.url, cast.bob.token) as bob:
        await bob.connect()
        cursor = {(await bob.ask("start_conversation", recipientId=cast.ann.id))["conversationId"]: 0}
    sending = asyncio.create_task(send_many(server, cast.ann, cast.bob, 200))
    while len(seen) < 200:
        async with ChatClient(server.url, cast.bob.token) as bob:
            await bob.connect(resume=cursor)
            for frame in bob.take_all("new_message"):
                seen.append(frame["seq"])
                cursor = {frame["conversationId"]: frame["seq"]}
    await sending
    assert seen == list(range(1, 201))


async def test_a_killed_server_loses_nothing_confirmed(start_server: Callable[..., LiveServer], cast: Cast) -> None:
    """What was confirmed before a kill is in the log, once; what was not may be sent again under its id."""
    server = start_server()
    confirmed: set[str] = set()
    async with ChatClient(server.url, cast.ann.token) as ann:
        await ann.connect()
        for number in range(300):
            await ann.tell("send_message", recipientId=cast.bob.id, content="x", clientMessageId=str(number))
        for _ in range(40):
            confirmed.add((await ann.next(type="message_sent"))["clientMessageId"])
        server.kill()
        await ann.closed()
        confirmed |= {frame["clientMessageId"] for frame in ann.take_all("message_sent")}
    server.start()
    async with ChatClient(server.url, cast.ann.token) as ann:
        await ann.connect()
        for number in range(300):
            await ann.ask("send_message", recipientId=cast.bob.id, content="x", clientMessageId=str(number))
    messages = Message.objects.filter(sender=cast.ann.user).order_by("seq")
    stored = await in_database(lambda: list(messages.values_list("client_message_id", "seq")))
    assert [seq for _, seq in stored] == list(range(1, 301))
    assert {client_id for client_id, _ in stored} == {str(number) for number in range(300)}
    assert confirmed <= {client_id for client_id, _ in stored}


@pytest.mark.parametrize("redis", ["with", "without"])
async def test_two_servers_deliver_to_each_other(
    start_server: Callable[..., LiveServer], cast: Cast, redis: str
) -> None:
    """Two processes on one database deliver to each other, by the channel layer or by the database alone."""
    variables: dict[str, Any] = {} if redis == "with" else {"REDIS_URL": None}
    one, two = start_server(**variables), start_server(**variables)
    async with ChatClient(one.url, cast.ann.token) as ann, ChatClient(two.url, cast.bob.token) as bob:
        await ann.connect()
        await bob.connect()
        for number in range(1, 4):
            await ann.ask("send_message", recipientId=cast.bob.id, content=str(number))
            assert (await bob.next(type="new_message"))["seq"] == number
        await bob.ask("send_message", recipientId=cast.ann.id, content="4")
        assert (await ann.next(type="new_message"))["seq"] == 4


async def test_delivered_positions_are_recorded_in_bulk(server: LiveServer, cast: Cast) -> None:
    """The delivered position follows what was written, a moment later, and never moves back."""
    async with ChatClient(server.url, cast.bob.token) as bob:
        await bob.connect()
        conversation = await send_many(server, cast.ann, cast.bob, 30)
        for _ in range(100):
            participants = Participant.objects.filter(conversation_id=conversation, user=cast.bob.user)
            delivered = (await in_database(participants.get)).delivered_seq
            if delivered == 30:
                break
            await asyncio.sleep(0.1)
    assert delivered == 30
    assert await in_database(Event.objects.filter(conversation_id=conversation).count) == 30


async def test_a_reader_that_stops_is_given_up(server: LiveServer, cast: Cast) -> None:
    """A client that reads nothing is closed with 4413, and the others go on."""
    async with ChatClient(server.url, cast.ann.token) as ann, ChatClient(server.url, cast.bob.token) as bob:
        await ann.connect()
        await bob.connect()
        bob.socket.transport.pause_reading()
        for _ in range(20):
            asks = [ann.ask("send_message", recipientId=cast.bob.id, content="z" * 5_000) for _ in range(50)]
            assert all(reply["type"] == "message_sent" for reply in await asyncio.gather(*asks))
        for _ in range(50):
            if "reads too slowly" in server.log:
                break
            await asyncio.sleep(0.1)
        assert "reads too slowly" in server.log
        assert (await ann.ask("ping"))["type"] == "pong"
        bob.socket.transport.abort()
