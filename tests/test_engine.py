"""The engine from inside: doors, log and writer on the real database, with connections that break."""

import asyncio
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest
from django.db import InterfaceError, OperationalError, connection, transaction

from messaging.delivery import doors, events, log
from messaging.delivery.caller import Caller, Identity
from messaging.delivery.doors import Availability, DatabaseThreads
from messaging.delivery.hub import Hub
from messaging.delivery.memberships import memberships_of, record_delivered
from messaging.delivery.news import Hint, LiveEvent, News
from messaging.delivery.profiles import profile_of
from messaging.delivery.rows import Pair
from messaging.delivery.sending import SendCommand
from messaging.delivery.storage import rows
from messaging.delivery.writer import Writer
from messaging.errors import IdempotencyMismatch, NotFound
from messaging.models import Conversation, Event, Message
from messaging.protocol.errors import InternalError, ServerBusy
from messaging.schemas.messages import MessageSent
from tests.cast import Cast, Person
from tests.database import in_database


class Socket:
    """A connection that keeps what it is given."""

    is_acknowledging = False

    def __init__(self, person: Person) -> None:
        """Belong to somebody."""
        self.client_id = str(uuid.uuid4())
        self.user_id = person.id
        self.frames: list[bytes] = []

    def put(self, frame: bytes, conversation_id: str = "", seq: int = 0) -> None:  # noqa: ARG002 — the hub's interface
        """Keep a frame."""
        self.frames.append(frame)

    put_ephemeral = put

    def first_unwritten(self, conversation_id: str) -> None:  # the same
        """Say that everything has been written."""

    def joined_while_connecting(self) -> None:
        """Take no notice."""

    def revoke(self, revoked: object) -> None:
        """Take no notice."""

    def memberships_changed(self, memberships: object) -> None:
        """Take no notice."""


class Engine:
    """A hub and a writer on the test database, with people who are connected."""

    def __init__(self) -> None:
        """Start the writer."""
        self.published: list[News] = []
        self.availability = Availability()
        self.hub = Hub(self.read)
        self.writer = Writer(rows(), self.hub, self.published.extend, self.availability)

    async def read(self, conversation_id: str, **wanted: Any) -> list[LiveEvent]:
        """Read the log on a thread."""
        wanted.pop("viewer_id", None)
        return await in_database(lambda: events.read(conversation_id, **wanted))

    def caller(self, person: Person) -> Caller:
        """Connect somebody."""
        socket = Socket(person)
        self.hub.enter(socket)
        return Caller(Identity(person.user.pk, profile_of(person.user)), socket)

    async def send(self, caller: Caller, to: Person, content: str = "Hello", **fields: Any) -> MessageSent:
        """Send a message and return its reply."""
        command = SendCommand(caller=caller, reply_type=MessageSent, content=content, recipient=to.user.pk, **fields)
        reply = await self.writer.submit(command)
        assert isinstance(reply, MessageSent)
        return reply


@pytest.fixture
async def engine(live_database: None) -> Any:
    """An engine that is stopped at the end."""
    engine = Engine()
    yield engine
    await engine.writer.stop()


def new_conversation(cast: Cast) -> str:
    """Make the conversation of ann and bob."""
    pair = Pair.of(cast.ann.user.pk, cast.bob.user.pk)
    with rows().transaction():
        return rows().create_direct([pair])[pair]


def append(conversation_id: str, kind: str = "group_info_updated", **fields: Any) -> log.Appended:
    """Append an event as services do."""
    conversation = Conversation.objects.select_for_update(no_key=True).get(pk=conversation_id)
    return log.append(conversation, kind, actor=None, **fields)


async def test_a_service_appends_and_its_news_are_recorded(cast: Cast) -> None:
    """What a service appends stands in the log and comes back as news, rendered, with who joined and left."""

    def work() -> tuple[doors.Written[log.Appended], list[LiveEvent]]:
        conversation = new_conversation(cast)
        people = log.People("members", [cast.ann.user.pk])
        command = uuid.uuid4()
        written = doors.write(
            append,
            conversation,
            wire={"changes": {}},
            people=people,
            joined=[cast.ann.user.pk],
            left=[cast.bob.user.pk],
            command_id=command,
        )
        assert log.was_committed(command)
        return written, events.read(conversation, after=0, limit=10)

    written, read = await in_database(work)
    assert written.result.seq == 1
    assert written.news == read
    assert read[0].joined == [cast.ann.id]
    assert read[0].left == [cast.bob.id]
    assert cast.ann.name.encode() in read[0].frame


async def test_outside_of_a_worker_news_are_hints(cast: Cast) -> None:
    """Without a recording, appending publishes a hint after the commit, and commits whatever the layer does."""

    def work() -> int:
        with transaction.atomic():
            log.announce(Hint("x", 1))
            return append(new_conversation(cast)).seq

    assert await in_database(work) == 1


def broken_once(error: Exception, *, after: bool) -> Callable[..., Any]:
    """Return a transaction that fails at its first end: before the commit or, its answer lost, after it."""
    original = transaction.atomic
    failures = [error]

    @contextmanager
    def atomic(*args: Any, **kwargs: Any) -> Iterator[None]:
        with original(*args, **kwargs):
            yield
            if failures and not after:
                raise failures.pop()
        if failures:
            raise failures.pop()

    return atomic


@pytest.mark.parametrize("after", [False, True])
async def test_a_lost_commit_is_not_repeated(cast: Cast, monkeypatch: pytest.MonkeyPatch, *, after: bool) -> None:
    """A service whose connection breaks around the commit has its effect once, whichever side the break was on."""
    conversation = await in_database(lambda: new_conversation(cast))
    monkeypatch.setattr(transaction, "atomic", broken_once(InterfaceError("gone"), after=after))
    written = await in_database(lambda: doors.write(append, conversation, command_id=uuid.uuid4()))
    assert written.result.seq == 1
    assert await in_database(Event.objects.filter(conversation_id=conversation).count) == 1


async def test_other_errors_are_raised(cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is neither a lost connection nor a deadlock is not tried again; a read is tried on a new connection."""

    def fail() -> None:
        raise OperationalError("out of luck")

    monkeypatch.setattr(doors, "is_connection_lost", lambda _: False)
    with pytest.raises(OperationalError):
        await in_database(lambda: doors.write(fail, command_id=uuid.uuid4()))
    with pytest.raises(OperationalError):
        await in_database(lambda: doors.read(fail))
    monkeypatch.setattr(doors, "is_connection_lost", lambda _: True)
    answers: list[Callable[[], int | None]] = [int, fail]

    def answer() -> int | None:
        return answers.pop()()

    assert await in_database(lambda: doors.read(answer)) == 0


async def test_database_threads_are_bounded(live_database: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Threads come with the work, end when idle down to the least, and refuse what would wait too long."""
    threads = DatabaseThreads(most=2, least=1, idle_seconds=0.05)
    assert await asyncio.gather(*(threads.run(partial(int, n)) for n in range(20))) == list(range(20))
    with pytest.raises(ZeroDivisionError):
        await threads.run(lambda: 1 // 0)
    await asyncio.sleep(0.3)
    assert threads._alive == 1
    monkeypatch.setattr(doors, "WAITING_MAX", 0)
    with pytest.raises(ServerBusy):
        threads.run(int)
    threads.stop()


async def test_a_batch_counts_its_statements(engine: Engine, cast: Cast) -> None:
    """Fifty messages in flight take far fewer transactions than fifty, and all have their place."""
    ann = engine.caller(cast.ann)
    replies = await asyncio.gather(*(engine.send(ann, cast.bob, str(number)) for number in range(50)))
    assert [reply.seq for reply in replies] == list(range(1, 51))
    moments = Message.objects.filter(sender=cast.ann.user).values_list("created_at", flat=True).distinct()
    assert await in_database(moments.count) < 10


@pytest.mark.parametrize("after", [False, True])
async def test_a_batch_whose_commit_was_lost_stores_once(
    engine: Engine, cast: Cast, monkeypatch: pytest.MonkeyPatch, *, after: bool
) -> None:
    """A batch that is tried again after a broken commit stores each message once and answers each sender."""
    ann = engine.caller(cast.ann)
    await engine.send(ann, cast.bob)
    original, failures = engine.writer._rows.transaction, [InterfaceError("gone")]

    @contextmanager
    def breaking() -> Iterator[None]:
        with original():
            yield
            if failures and not after:
                raise failures.pop()
        if failures:
            raise failures.pop()

    monkeypatch.setattr(engine.writer._rows, "transaction", breaking)
    replies = await asyncio.gather(*(engine.send(ann, cast.bob, str(number)) for number in range(5)))
    assert [reply.seq for reply in replies] == [2, 3, 4, 5, 6]
    assert await in_database(Message.objects.filter(sender=cast.ann.user).count) == 6


async def test_one_bad_message_does_not_fail_its_neighbours(
    engine: Engine, cast: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When a batch fails as a whole its messages are tried one by one; only the bad one is refused."""
    original = engine.writer._rows.insert

    def insert(new: Any, *rest: Any) -> None:
        if any(row.client_message_id == "bad" for row in new):
            raise ValueError("this row")
        original(new, *rest)

    monkeypatch.setattr(engine.writer._rows, "insert", insert)
    ann = engine.caller(cast.ann)
    sends = [engine.send(ann, cast.bob, client_message_id=name) for name in ("one", "bad", "two")]
    one, bad, two = await asyncio.gather(*sends, return_exceptions=True)
    assert isinstance(bad, InternalError)
    assert isinstance(one, MessageSent)
    assert isinstance(two, MessageSent)
    assert {one.seq, two.seq} == {1, 2}


async def test_the_writer_refuses_what_it_cannot_take(
    engine: Engine, cast: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full queue, a database that is away and a stopping worker are SERVER_BUSY; nobody to write to is NOT_FOUND."""
    ann = engine.caller(cast.ann)
    engine.availability.failed()
    with pytest.raises(ServerBusy):
        await engine.send(ann, cast.bob)
    engine.availability.recovered()
    monkeypatch.setattr("messaging.delivery.writer.QUEUE_MAX", 0)
    with pytest.raises(ServerBusy):
        await engine.send(ann, cast.bob)
    monkeypatch.undo()
    nobody = Person(type(cast.bob.user)(pk=999_999_999))
    with pytest.raises(NotFound):
        await engine.send(ann, nobody)
    await engine.send(ann, cast.bob, client_message_id="1")
    with pytest.raises(IdempotencyMismatch):
        await engine.send(ann, cast.bob, "Other", client_message_id="1")


async def test_a_lost_database_is_said_at_once(engine: Engine, cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the connection stays lost the senders hear SERVER_BUSY, and the worker knows that the database is away."""

    @contextmanager
    def gone() -> Iterator[None]:
        raise InterfaceError("gone")
        yield

    ann = engine.caller(cast.ann)
    monkeypatch.setattr(engine.writer._rows, "transaction", gone)
    with pytest.raises(ServerBusy):
        await engine.send(ann, cast.bob)
    assert not engine.availability.is_up


async def test_what_waits_too_long_is_answered_and_delivered_later(
    engine: Engine, cast: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the deadline the sender hears SERVER_BUSY; the commit that comes after all reaches them as an event."""
    monkeypatch.setattr("messaging.delivery.writer.DEADLINE_SECONDS", 0.0)
    ann = engine.caller(cast.ann)
    reached, goes_on = threading.Event(), threading.Event()
    original = engine.writer._rows.insert

    def slow(*args: Any) -> None:
        reached.set()
        goes_on.wait(5)
        original(*args)

    monkeypatch.setattr(engine.writer._rows, "insert", slow)
    sending = asyncio.ensure_future(engine.send(ann, cast.bob))
    await asyncio.to_thread(reached.wait, 5)
    engine.writer.expire()
    with pytest.raises(ServerBusy):
        await sending
    goes_on.set()
    frames = ann.connection.frames  # type: ignore[attr-defined]
    for _ in range(100):
        if frames:
            break
        await asyncio.sleep(0.02)
    assert [frame.startswith(b'{"type":"new_message"') for frame in frames] == [True]


@pytest.mark.postgres_only
async def test_a_locked_conversation_stalls_nobody(engine: Engine, cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    """Messages to a conversation that somebody else holds wait, batches full of them; others go through meanwhile."""
    monkeypatch.setattr("messaging.delivery.writer.BATCH_MAX", 1)
    ann = engine.caller(cast.ann)
    first = await engine.send(ann, cast.bob)
    held, release = threading.Event(), threading.Event()

    def hold() -> None:
        with transaction.atomic():
            Conversation.objects.select_for_update().get(pk=first.conversation_id)
            held.set()
            release.wait(10)

    holding = asyncio.ensure_future(in_database(hold))
    await asyncio.to_thread(held.wait, 5)
    waiting = asyncio.ensure_future(engine.send(ann, cast.bob, "2"))
    for number in range(3):
        assert (await engine.send(ann, cast.carl, str(number))).seq == number + 1
    await asyncio.sleep(1.5)
    assert not waiting.done()
    release.set()
    await holding
    assert (await waiting).seq == 2


async def test_delivered_positions_never_move_back(cast: Cast) -> None:
    """A recorded position is the highest ever, at most the end of the log; unknown users are passed over."""

    def work() -> list[int]:
        conversation = new_conversation(cast)
        for _ in range(3):
            doors.write(append, conversation, command_id=uuid.uuid4())
        seen = []
        for seq in (2, 1, 900):
            record_delivered([(conversation, cast.ann.id, seq), (conversation, "nobody", seq)])
            seen.append(memberships_of([cast.ann.user.pk])[cast.ann.user.pk][0].delivered_seq)
        return seen

    assert await in_database(work) == [2, 2, 3]


def test_rows_say_what_they_are_and_never_what_they_hold(cast: Cast) -> None:
    """The text of every row names it by ids."""
    for model in (Conversation, Event, Message):
        row = model(**({"seq": 1} if model is not Conversation else {}))
        assert str(row)
    assert connection.vendor in {"sqlite", "postgresql"}


@pytest.mark.postgres_only
async def test_messages_behind_a_lock_keep_their_order(engine: Engine, cast: Cast) -> None:
    """Whatever has to wait for a lock, and however often: what was sent first has the lower seq."""
    ann = engine.caller(cast.ann)
    conversation_id = (await engine.send(ann, cast.bob)).conversation_id
    is_over = threading.Event()

    def lock_again_and_again() -> None:
        while not is_over.is_set():
            with transaction.atomic():
                Conversation.objects.select_for_update().get(pk=conversation_id)
                is_over.wait(0.004)
            is_over.wait(0.001)

    locking = asyncio.ensure_future(in_database(lock_again_and_again))
    sending = []
    for number in range(300):
        sending.append(asyncio.ensure_future(engine.send(ann, cast.bob, client_message_id=str(number))))
        await asyncio.sleep(0.001)
    await asyncio.gather(*sending)
    is_over.set()
    await locking
    stored = Message.objects.filter(conversation_id=conversation_id, client_message_id__isnull=False)
    order = await in_database(lambda: list(stored.order_by("seq").values_list("client_message_id", flat=True)))
    assert order == [str(number) for number in range(300)]


@pytest.mark.postgres_only
async def test_a_missing_conversation_is_waited_for_by_nobody(
    engine: Engine, cast: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What does not exist is refused in its first batch, as fast as what is not the sender's."""
    batches: list[bool] = []
    original = engine.writer._rows.lock_and_read

    def counted(wanted: Any, *, wait: bool) -> Any:
        batches.append(wait)
        return original(wanted, wait=wait)

    monkeypatch.setattr(engine.writer._rows, "lock_and_read", counted)
    command = SendCommand(
        caller=engine.caller(cast.ann), reply_type=MessageSent, content="x", conversation_id=str(uuid.uuid4())
    )
    with pytest.raises(NotFound):
        await engine.writer.submit(command)
    assert batches == [False]
