"""The hub against a channel layer that drops, duplicates and reorders: what each client receives must equal the log."""

import asyncio
import itertools
import uuid

import pytest
from hypothesis import given, settings, strategies as st

from messaging.delivery.hub import Hub, PlacedReply
from messaging.delivery.memberships import Membership, Stretch
from messaging.delivery.news import Cleared, Hint, LiveEvent, Revoked, ToUsers
from messaging.delivery.replay import Outcome, Replayer, attach, set_back
from messaging.models import (
    Block,
    Conversation,
    Event,
    Follow,
    Interval,
    Mention,
    Message,
    MessageDeletion,
    Participant,
    Reaction,
    TokenCutoff,
)
from messaging.protocol.errors import ServerBusy

pytestmark = pytest.mark.any_stack
ROOM = "room"


class Reader:
    """A connection that keeps what it is given."""

    is_half_full = False

    def __init__(self, user_id: str, *, is_acknowledging: bool = False) -> None:
        """Belong to somebody."""
        self.client_id = str(uuid.uuid4())
        self.user_id = user_id
        self.is_acknowledging = is_acknowledging
        self.frames: list[bytes] = []
        self.revoked: list[Revoked] = []

    def put(self, frame: bytes, conversation_id: str = "", seq: int = 0) -> None:  # noqa: ARG002 — the hub's interface
        """Keep a frame."""
        self.frames.append(frame)

    def put_ephemeral(self, frame: bytes) -> None:
        """Keep a frame."""
        self.frames.append(frame)

    def first_unwritten(self, conversation_id: str) -> None:
        """Say that everything has been written."""

    async def has_room(self) -> None:
        """Always have room."""

    def revoke(self, revoked: Revoked) -> None:
        """Keep what ended."""
        self.revoked.append(revoked)

    def joined_while_connecting(self) -> None:
        """Take no notice."""

    def memberships_changed(self, memberships: object) -> None:
        """Take no notice."""


class Log:
    """A conversation's log in memory, whose reading takes a turn of the loop and sometimes fails."""

    def __init__(self, length: int, *, failures: int = 0) -> None:
        """Hold events 1 to `length`."""
        self.events = [event(seq) for seq in range(1, length + 1)]
        self.failures = failures

    async def read(
        self, conversation_id: str, *, after: int, limit: int, until: int | None = None, viewer_id: str | None = None
    ) -> list[LiveEvent]:
        """Return a page."""
        del conversation_id, viewer_id
        await asyncio.sleep(0)
        if self.failures:
            self.failures -= 1
            raise ServerBusy
        end = len(self.events) if until is None else until
        return self.events[after : min(end, after + limit)]


def event(seq: int, **fields: object) -> LiveEvent:
    """Return an event whose frame is its seq."""
    return LiveEvent(ROOM, seq, str(seq).encode(), **fields)  # type: ignore[arg-type]


def membership(last_seq: int, delivered: int, *, to_seq: int | None = None, cleared: int = 0) -> Membership:
    """Return a membership of the room from its beginning."""
    return Membership(ROOM, last_seq, delivered, cleared, (Stretch(1, to_seq, 1),))


async def settle(hub: Hub) -> None:
    """Let everything that the hub has begun come to its end."""
    for _ in range(200):
        await asyncio.sleep(0)
    assert not hub._tasks


@settings(max_examples=150, deadline=None)
@given(
    length=st.integers(1, 30),
    fates=st.lists(st.tuples(st.integers(0, 29), st.integers(0, 3)), max_size=80),
    arrivals=st.lists(st.tuples(st.integers(0, 79), st.integers(0, 30)), max_size=4),
)
def test_chaos_changes_nothing(length: int, fates: list[tuple[int, int]], arrivals: list[tuple[int, int]]) -> None:
    """Whatever news arrive, in whatever order and how often, each connection gets the log from its position, once."""

    async def run() -> None:
        log = Log(length)
        hub = Hub(log.read)
        readers: list[tuple[Reader, int]] = []

        def arrive(position: int) -> None:
            reader = Reader("ann")
            hub.enter(reader)
            start = min(position, length)
            target = attach(hub, reader, membership(length, 0), start)
            readers.append((reader, start))
            if target is not None:
                Replayer(reader, hub).replay([target], lambda _: None)

        arrive(0)
        for step, (which, turns) in enumerate(fates):
            for at, position in arrivals:
                if at == step:
                    arrive(position)
            if which < length:
                hub.take([log.events[which]])
            for _ in range(turns):
                await asyncio.sleep(0)
        hub.take([Hint(ROOM, length)])
        await settle(hub)
        for reader, start in readers:
            assert [int(frame) for frame in reader.frames] == list(range(start + 1, length + 1))

    asyncio.run(run())


@settings(max_examples=60, deadline=None)
@given(length=st.integers(1, 20), cursors=st.lists(st.integers(0, 25), max_size=4), turns=st.integers(0, 6))
def test_setting_back_replays_from_there(length: int, cursors: list[int], turns: int) -> None:
    """After each `sync` the events from its cursor on come once more, in order, to the end of the log."""

    async def run() -> None:
        log = Log(length)
        hub = Hub(log.read)
        reader = Reader("ann")
        hub.enter(reader)
        attach(hub, reader, membership(length, length))
        replayer = Replayer(reader, hub)
        for cursor in cursors:
            target = set_back(hub, reader, membership(length, 0), cursor)
            replayer.replay([target] if target else [], lambda _: None)
            for _ in range(turns):
                await asyncio.sleep(0)
        await settle(hub)
        seen = [int(frame) for frame in reader.frames]
        if cursors and min(cursors[-1], length) < length:
            assert seen[-(length - cursors[-1]) :] == list(range(cursors[-1] + 1, length + 1))
        steps = {right - left for left, right in itertools.pairwise(seen)}
        assert all(step == 1 or step <= 0 for step in steps)

    asyncio.run(run())


async def test_a_reply_takes_the_place_of_its_event() -> None:
    """A reply waits for the events before it, and its connection gets it instead of the event."""
    log = Log(3)
    hub = Hub(log.read)
    ann, bob = Reader("ann"), Reader("bob")
    for reader in (ann, bob):
        hub.enter(reader)
        attach(hub, reader, membership(0, 0))
    hub.take([log.events[2]], PlacedReply(ann, ROOM, 3, b"reply"))
    await settle(hub)
    assert ann.frames == [b"1", b"2", b"reply"]
    assert bob.frames == [b"1", b"2", b"3"]
    hub.place_reply(PlacedReply(ann, ROOM, 2, b"again"))
    assert ann.frames[-1] == b"again"


async def test_a_reading_that_fails_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A gap that cannot be read now is read a little later."""
    monkeypatch.setattr("messaging.delivery.hub.RETRY_SECONDS", 0)
    monkeypatch.setattr("messaging.delivery.replay.RETRY_SECONDS", 0)
    log = Log(3, failures=2)
    hub = Hub(log.read)
    ann = Reader("ann")
    hub.enter(ann)
    attach(hub, ann, membership(0, 0))
    hub.hear([(ROOM, 3)])
    await settle(hub)
    assert ann.frames == [b"1", b"2", b"3"]
    log.failures = 1
    target = set_back(hub, ann, membership(3, 3), 1)
    assert target is not None
    Replayer(ann, hub).replay([target], lambda _: None)
    await settle(hub)
    assert ann.frames[3:] == [b"2", b"3"]


async def test_membership_begins_and_ends_with_its_events() -> None:
    """Who joins sees from there on; who leaves gets that event and nothing after it, also under a replay."""
    log = Log(6)
    log.events[1] = event(2, joined=["bob"], joined_sees_from=2)
    log.events[3] = event(4, left=["bob"])
    hub = Hub(log.read)
    ann, bob, away = Reader("ann"), Reader("bob"), Reader("bob")
    for reader in (ann, bob, away):
        hub.enter(reader)
    attach(hub, ann, membership(0, 0))
    hub.take(log.events[:2])
    target = set_back(hub, away, membership(2, 0), 1)
    assert target is not None
    hub.take(log.events[2:])
    outcomes: list[Outcome] = []
    Replayer(away, hub).replay([target], outcomes.append)
    await settle(hub)
    assert ann.frames == [b"1", b"2", b"3", b"4", b"5", b"6"]
    assert bob.frames == [b"2", b"3", b"4"]
    assert away.frames == [b"2", b"2", b"3", b"4"]
    assert outcomes[0].delivered == 3
    hub.leave(ann)
    assert not hub.rooms
    assert (ROOM, "ann", 6) in hub.positions.collect()


async def test_a_past_membership_is_replayed_to_its_end() -> None:
    """Who was removed while away gets what came before, and the end of it."""
    log = Log(5)
    hub = Hub(log.read)
    bob = Reader("bob")
    hub.enter(bob)
    target = attach(hub, bob, membership(5, 1, to_seq=3))
    assert target is not None
    Replayer(bob, hub).replay([target], lambda _: None)
    await settle(hub)
    assert bob.frames == [b"2", b"3"]
    assert attach(hub, bob, membership(5, 3, to_seq=3)) is None


async def test_some_events_are_not_for_everyone() -> None:
    """An event about a message that a reader may not see is skipped, a quote of such a message has no excerpt."""
    hub = Hub(Log(0).read)
    ann, bob = Reader("ann"), Reader("bob")
    for reader in (ann, bob):
        hub.enter(reader)
        attach(hub, reader, membership(0, 0))
    hub.take([event(1, subject_seq=1, hidden_for=["bob"])])
    hub.take([event(2, reply_seq=1, bare_frame=b"bare", quote_hidden_for=["bob"])])
    hub.take([Cleared("ann", ROOM, 2), event(3, subject_seq=1), event(4, reply_seq=1, bare_frame=b"bare")])
    assert bob.frames[0].startswith(b'{"type":"skipped"')
    assert bob.frames[1:] == [b"bare", b"3", b"4"]
    assert ann.frames[:2] == [b"1", b"2"]
    assert ann.frames[2].startswith(b'{"type":"skipped"')
    assert ann.frames[3] == b"bare"


async def test_frames_for_users_and_revocations_find_their_connections() -> None:
    """An ephemeral frame goes to its users' connections but the one that caused it; revocations to whom they mean."""
    hub = Hub(Log(0).read)
    one, two, bob = Reader("ann"), Reader("ann"), Reader("bob")
    for reader in (one, two, bob):
        hub.enter(reader)
    hub.take([ToUsers(["ann", "nobody"], b"x", one.client_id), Revoked(jti="j"), Revoked(user_id="bob")])
    assert (one.frames, two.frames, bob.frames) == ([], [b"x"], [])
    assert (len(one.revoked), len(two.revoked), len(bob.revoked)) == (1, 1, 2)
    assert hub.is_online("bob")
    hub.leave(bob)
    assert not hub.is_online("bob")


async def test_acknowledging_connections_decide_themselves() -> None:
    """What an acknowledging connection was given counts once it says so, and what could not be recorded is kept."""
    log = Log(3)
    hub = Hub(log.read)
    ann = Reader("ann", is_acknowledging=True)
    hub.enter(ann)
    attach(hub, ann, membership(0, 0))
    hub.take(log.events)
    assert hub.positions.collect() == []
    hub.positions.acknowledge(ann, {ROOM: 2, "elsewhere": 9})
    assert hub.positions.delivered("ann", ROOM) == 2
    positions = hub.positions.collect()
    hub.positions.give_back(positions)
    assert hub.positions.collect() == [(ROOM, "ann", 2)]
    hub.forget_old_news()


def test_rows_name_themselves_without_content() -> None:
    """The text of every row says what it is by ids."""
    bare = (Conversation, Participant, Interval, Message, Mention, Event, Reaction, MessageDeletion, Block, Follow)
    assert all(str(model()) for model in bare)
    assert str(TokenCutoff(user_id=1))
