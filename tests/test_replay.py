"""Applying the events is fetching: random sequences of all operations, by several people on several devices.

`pytest --hypothesis-profile=long tests/test_replay.py --timeout=0` runs many more of them, other ones each time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings, strategies as st

from tests.cast import Person, new_cast
from tests.client import ChatClient, Frame
from tests.database import in_database
from tests.model import Message, Model
from tests.server import LiveServer

SETTLE_TRIES = 300
IS_LONG = settings.get_current_profile_name() == "long"
Operation = tuple[str, int, int, int]  # what, by which device, on which thing, and a free choice

OPERATIONS = (
    *("send", "send", "send", "reply", "repeat", "edit", "delete", "hide", "react", "react", "unreact", "read"),
    *("group_send", "group_send", "announce", "pin", "unpin", "add", "remove", "leave", "promote", "demote", "mute"),
    *("unmute", "update", "clear", "block", "unblock", "drop", "return", "typing"),
    *("transfer", "delete_group", "restore", "restore"),
)


class Device:
    """One device of somebody, connected or not, and what it has made of what it got."""

    def __init__(self, server: LiveServer, person: Person) -> None:
        """Begin disconnected."""
        self.person = person
        self.model = Model(person.id)
        self.client: ChatClient | None = None
        self.server = server

    async def come(self, *, ack: bool) -> None:
        """Connect, go on from where the model is, and get what began while it was away from the beginning."""
        self.client = ChatClient(self.server.url, self.person.token, heard=self.model.apply)
        await self.client.__aenter__()
        await self.client.connect(resume=self.model.cursors(), ack=ack)
        listed = (await self.client.ask("get_conversations"))["conversations"]
        known = self.model.cursors()
        if unknown := {row["conversationId"]: 0 for row in listed if row["conversationId"] not in known}:
            await self.client.tell("sync", cursors=unknown)
            await self.client.next(type="sync_complete")

    async def go(self) -> None:
        """Break off."""
        if self.client is not None:
            await self.client.__aexit__(None, None, None)
            self.client = None


class World:
    """The people, their devices and what they can do."""

    def __init__(self, devices: list[Device], group_id: str, people: list[Person]) -> None:
        """Begin with a group that nobody but its owner, the first of the people, is in."""
        self.devices = devices
        self.group_id = group_id
        self.people = people
        self.sent: list[Frame] = []  # every confirmed message

    async def do(self, operation: Operation) -> None:
        """Do one thing; what is refused changes nothing."""
        what, by, on, choice = operation
        device = self.devices[by % len(self.devices)]
        if what == "kill":
            await self._kill(on)
        elif what == "drop":
            await device.go()
        elif device.client is None:
            await device.come(ack=choice % 2 == 0)
        elif what in {"hide", "clear"} and any(each.client is None for each in self.of(device.person)):
            return  # devices that are away learn of these by fetching only
        else:
            await self._ask(device.client, device.person, what, on, choice)

    async def _kill(self, count: int) -> None:
        """Kill the server with messages of everybody in flight; who was connected comes back."""
        connected = [device for device in self.devices if device.client is not None]
        for number in range(count):
            for device in connected:
                if device.client is not None:
                    await device.client.tell("send_group_message", groupId=self.group_id, content=str(number))
        self.devices[0].server.kill()
        self.devices[0].server.start()
        for device in connected:
            await device.go()
            await device.come(ack=False)

    def of(self, person: Person) -> list[Device]:
        """Return somebody's devices."""
        return [each for each in self.devices if each.person is person]

    async def _ask(self, client: ChatClient, person: Person, what: str, on: int, choice: int) -> None:
        other = next(each for each in (*self.people[choice % 3 :], *self.people) if each is not person)
        message: Message = self.sent[on % len(self.sent)]["message"] if self.sent else {"messageId": self.group_id}
        about = {"messageId": message["messageId"]}
        in_group = {"groupId": self.group_id}
        text = f"{choice} @{other.name} {'@everyone' if choice % 5 == 0 else ''}"
        requests: dict[str, tuple[str, dict[str, Any]]] = {
            "send": ("send_message", {"recipientId": other.id, "content": text, "clientMessageId": f"{on} {choice}"}),
            "reply": (
                "send_message",
                {
                    "conversationId": message.get("conversationId", self.group_id),
                    "content": text,
                    "replyToMessageId": about["messageId"],
                },
            ),
            "repeat": (
                "send_message",
                {"recipientId": other.id, "content": text, "clientMessageId": f"{on} {choice}"},
            ),
            "group_send": ("send_group_message", {**in_group, "content": text}),
            "announce": ("send_announcement", {**in_group, "content": text}),
            "edit": ("update_message", {**about, "content": f"edited {text}"}),
            "delete": ("delete_message", {**about, "forEveryone": True}),
            "hide": ("delete_message", about),
            "react": ("add_reaction", {**about, "emoji": "+-"[choice % 2]}),
            "unreact": ("remove_reaction", {**about, "emoji": "+-"[choice % 2]}),
            "read": ("mark_read", about),
            "typing": ("typing", {"recipientId": other.id, "isTyping": False}),
            "clear": ("delete_conversation", {"conversationId": message.get("conversationId", self.group_id)}),
            "block": ("block_user", {"userId": other.id}),
            "unblock": ("unblock_user", {"userId": other.id}),
            "pin": ("pin_message", {**in_group, **about}),
            "unpin": ("unpin_message", {**in_group, **about}),
            "add": ("add_group_member", {**in_group, "userId": other.id}),
            "remove": ("remove_group_member", {**in_group, "userId": other.id}),
            "leave": ("leave_group", in_group),
            "promote": ("promote_member", {**in_group, "userId": other.id}),
            "demote": ("demote_member", {**in_group, "userId": other.id}),
            "mute": ("mute_member", {**in_group, "userId": other.id, "minutes": 1}),
            "unmute": ("unmute_member", {**in_group, "userId": other.id}),
            "update": ("update_group", {**in_group, "name": f"Name {choice}"}),
            "transfer": ("transfer_ownership", {**in_group, "userId": other.id}),
            "delete_group": ("delete_group", in_group),
            "restore": ("restore_group", in_group),
            "return": ("ping", {}),
        }
        request, fields = requests[what]
        if request == "typing":
            await client.tell(request, **fields)
            return
        reply = await client.ask(request, **fields)
        if "message" in reply and reply["type"] != "error":
            self.sent.append(reply)


async def fetch(client: ChatClient, conversation_id: str) -> list[Message]:
    """Load every message of a conversation."""
    messages: list[Message] = []
    before: int | None = None
    while True:
        page = await client.ask("get_messages", conversationId=conversation_id, limit=7, before=before)
        messages = page["messages"] + messages
        if not page["hasMore"]:
            return messages
        before = page["messages"][0]["seq"]


def differences(made: list[Message], fetched: list[Message]) -> list[str]:
    """Return in which fields two lists of messages differ."""
    ours, theirs = ({each["seq"]: each for each in messages} for messages in (made, fetched))
    return [
        f"{seq}: {name} is {ours.get(seq, {}).get(name)!r}, fetched {theirs.get(seq, {}).get(name)!r}"
        for seq in sorted(ours.keys() | theirs.keys())
        for name in sorted(ours.get(seq, {}).keys() | theirs.get(seq, {}).keys())
        if ours.get(seq, {}).get(name) != theirs.get(seq, {}).get(name)
    ]


def recount(row: Frame, messages: list[Message], user_id: str) -> tuple[int, int]:
    """Return how many of some messages are unread, and how many of those mention the reader."""
    unread = [
        each
        for each in messages
        if each["seq"] > row["readSeq"] and each["sender"]["userId"] != user_id and not each["isDeleted"]
    ]
    mentioning = [
        each
        for each in unread
        if any(mention["type"] == "everyone" or mention["userId"] == user_id for mention in each["mentions"])
    ]
    return len(unread), len(mentioning)


async def check_person(server: LiveServer, world: World, person: Person) -> None:
    """Assert that all of somebody's devices, a replay from the beginning and a fetch show the same."""
    replayed = Model(person.id)
    listed = await list_when_settled(server, world.of(person))
    known = {key for device in world.of(person) for key in device.model.conversations}
    async with ChatClient(server.url, person.token, heard=replayed.apply) as client:
        await client.connect(resume=dict.fromkeys(known, 0))
        for key, row in listed.items():
            messages = await fetch(client, key)
            for model in (replayed, *(device.model for device in world.of(person))):
                assert differences(model.conversations[key].visible(), messages) == []
                assert model.conversations[key].last_seq == row["lastSeq"]
            assert recount(row, messages, person.id) == (row["unreadCount"], row["mentionCount"])
            assert row["lastMessage"] == (messages[-1] if messages else None)
        for model in (replayed, *(device.model for device in world.of(person))):
            assert model.problems == []
            for key, conversation in model.conversations.items():
                is_gone = conversation.is_deleted or not conversation.is_member
                assert key in listed or is_gone or not conversation.visible()
        await check_group(client, world.group_id, replayed)


async def check_group(client: ChatClient, group_id: str, model: Model) -> None:
    """Assert that the events of a group give its members, their roles and its description to who saw all of it."""
    group = model.conversations.get(group_id)
    if group is None or group.joined_seq != 1 or not group.is_member or group.is_deleted:
        return
    listed = (await client.ask("get_group_members", groupId=group_id))["members"]
    assert group.roles == {member["userId"]: member["role"] for member in listed}
    info = (await client.ask("get_group_info", groupId=group_id))["group"]
    assert group.group | {"role": group.roles[model.user_id], "memberCount": len(listed)} == info
    pinned = {each["messageId"] for each in (await client.ask("get_pinned_messages", groupId=group_id))["messages"]}
    assert pinned == {each["messageId"] for each in group.visible() if each["isPinned"]}


async def list_when_settled(server: LiveServer, devices: list[Device]) -> dict[str, Frame]:
    """Return somebody's conversations by their ids, once all their devices have got everything of them."""
    async with ChatClient(server.url, devices[0].person.token) as client:
        await client.connect()
        rows = (await client.ask("get_conversations"))["conversations"]
    for row in rows:
        await settled(devices, row["conversationId"], row["lastSeq"])
    return {row["conversationId"]: row for row in rows}


async def settled(devices: list[Device], conversation_id: str, seq: int) -> None:
    """Wait until connected devices have got a conversation up to a seq."""
    for _ in range(SETTLE_TRIES):
        behind = [device for device in devices if device.model.cursors().get(conversation_id, 0) < seq]
        if not behind:
            return
        await asyncio.sleep(0.01)
    raise AssertionError(f"devices of {[each.person.name for each in behind]} did not get seq {seq}")


def sequences(operations: Sequence[str], *, least: int, most: int) -> st.SearchStrategy[list[Operation]]:
    """Return what makes sequences of these operations."""
    choices = st.integers(0, 30)
    return st.lists(st.tuples(st.sampled_from(operations), choices, choices, choices), min_size=least, max_size=most)


async def live_through(server: LiveServer, operations: list[Operation]) -> None:
    """Do a sequence of operations, and check what everybody has made of it."""
    cast = await in_database(new_cast)
    people = [cast.ann, cast.bob, cast.carl]
    devices = [Device(server, person) for person in people for _ in range(2)]
    async with AsyncExitStack() as stack:
        for device in devices:
            stack.push_async_callback(device.go)
            await device.come(ack=False)
        assert devices[0].client is not None
        created = await devices[0].client.ask("create_group", name="Group", memberIds=[cast.bob.id])
        world = World(devices, created["groupId"], people)
        for operation in operations:
            await world.do(operation)
        for device in devices:
            if device.client is None:
                await device.come(ack=True)
        for person in people:
            await check_person(server, world, person)


@settings(
    max_examples=300 if IS_LONG else 12,
    deadline=None,
    phases=(Phase.generate,),  # a failing sequence is short enough to be read, and shrinking one takes minutes
    derandomize=not IS_LONG,
    suppress_health_check=list(HealthCheck),
)
@given(sequences(OPERATIONS, least=30, most=60))
async def test_events_give_what_a_fetch_shows(server: LiveServer, operations: list[Operation]) -> None:
    """After any sequence of operations, each device's events, a replay from seq 0 and a fresh fetch agree."""
    await live_through(server, operations)


@settings(
    max_examples=100 if IS_LONG else 3,
    deadline=None,
    phases=(Phase.generate,),
    derandomize=not IS_LONG,
    suppress_health_check=list(HealthCheck),
)
@given(
    before=sequences(OPERATIONS, least=15, most=25),
    after=sequences(OPERATIONS, least=15, most=25),
    kill=st.tuples(st.just("kill"), st.just(0), st.integers(0, 30), st.integers(0, 30)),
)
async def test_a_kill_changes_nothing_of_that(
    start_server: Callable[..., LiveServer], before: list[Operation], after: list[Operation], kill: Operation
) -> None:
    """The same, when the server is killed with requests in flight and everybody comes back."""
    server = start_server()
    await live_through(server, [*before, kill, *after])
    server.stop()  # further sequences have servers of their own
