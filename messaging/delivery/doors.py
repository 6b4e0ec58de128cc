"""The two doors to the database for everything but sending, on threads that keep their connection.

`reading(service)` never opens a write transaction. `writing(service)` is one `atomic()`, on SQLite under a
process-wide lock that the writer shares: measured there, three threads of `atomic()` reads bring the writer from 829
batches to 3. Services are plain synchronous functions; they run whole on one thread.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any, Generic, TypeVar

from django.db import Error, InterfaceError, OperationalError, connection, transaction

from messaging.delivery import log
from messaging.delivery.news import News
from messaging.protocol.errors import ServerBusy

logger = logging.getLogger(__name__)
T = TypeVar("T")

TRIES = 4
WAITING_MAX = 2_000  # calls waiting for a thread; beyond it SERVER_BUSY
DEADLINE_SECONDS = 10.0  # a frozen database server ignores statement_timeout
_REPEATABLE = frozenset({"40P01", "40001"})  # deadlock, serialisation failure (SQLSTATE)
_LOCK_TIMEOUT = "55P03"  # lock_not_available
_write_lock = threading.RLock()


@contextmanager
def write_lock() -> Iterator[None]:
    """Hold the one write lock of a SQLite process; on PostgreSQL nothing: rows have their own."""
    if connection.vendor == "sqlite":
        with _write_lock:
            yield
    else:
        yield


@contextmanager
def snapshot() -> Iterator[None]:
    """Let the statements of a reading service agree: one snapshot for all of them, and no write lock."""
    begin = "BEGIN DEFERRED" if connection.vendor == "sqlite" else "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
    if connection.in_atomic_block:
        yield  # inside a writing service the transaction is there already
        return
    with connection.cursor() as cursor:
        cursor.execute(begin)
        try:
            yield
        finally:
            cursor.execute("ROLLBACK")  # nothing was written


def is_connection_lost(error: BaseException) -> bool:
    """Return whether a database error means that the connection, not the statement, has failed."""
    if isinstance(error, InterfaceError):
        return True
    if not isinstance(error, OperationalError) or connection.vendor == "sqlite":
        return False
    return not connection.is_usable()


def is_outage(error: BaseException) -> bool:
    """Return whether an error, raised on a database thread, means that the server cannot be reached."""
    cause = error.__cause__ or error
    state = getattr(cause, "sqlstate", None) or ""
    # Class 08 is a connection exception, 57P the operator's shutdown; psycopg gives none when it never got through.
    return (
        isinstance(error, InterfaceError | OperationalError)
        and connection.vendor != "sqlite"
        and (not state or state.startswith(("08", "57P")))
    )


def is_lock_timeout(error: BaseException) -> bool:
    """Return whether somebody else held a lock for longer than `lock_timeout`."""
    return getattr(error.__cause__ or error, "sqlstate", None) == _LOCK_TIMEOUT


def is_repeatable(error: BaseException) -> bool:
    """Return whether the same transaction may well pass when it is tried again: a deadlock, say."""
    cause = error.__cause__ or error
    return getattr(cause, "sqlstate", None) in _REPEATABLE or "database is locked" in str(error)


@dataclass(frozen=True, slots=True)
class Written(Generic[T]):
    """What a writing service returned, and the news to publish of it."""

    result: T
    news: list[News]


def read(service: Callable[..., T], *args: Any, **kwargs: Any) -> T:
    """Run a reading service on this thread; once more on a new connection when the old one was lost."""
    try:
        return service(*args, **kwargs)
    except Error as error:
        if not is_connection_lost(error):
            raise
        connection.close()
        return service(*args, **kwargs)


def write(service: Callable[..., T], *args: Any, command_id: uuid.UUID, **kwargs: Any) -> Written[T]:
    """Run a writing service in one transaction on this thread, again after deadlocks and lost connections.

    A COMMIT whose answer was lost may have happened: before another try, the event that the service appended is
    looked up by the command's id. Services that append none do no harm when they run twice.
    """
    for remaining in reversed(range(TRIES)):
        done: Written[T] | None = None
        try:
            with write_lock(), log.recording(command_id) as record, transaction.atomic():
                done = Written(service(*args, **kwargs), record.news)
        except Error as error:
            if not remaining or not _may_try_again(error):
                raise
            if done is not None and log.was_committed(command_id):
                return done
        else:
            return done
    raise AssertionError("unreachable")


def _may_try_again(error: Error) -> bool:
    if is_connection_lost(error):
        connection.close()
        return True
    return is_repeatable(error)


@dataclass(slots=True)
class _Job:
    run: Callable[[], Any]
    future: asyncio.Future[Any]
    loop: asyncio.AbstractEventLoop

    def do(self) -> None:
        """Run on a database thread and answer on the loop."""
        try:
            result, error = self.run(), None
        except Exception as raised:  # noqa: BLE001 — it is raised again where it is awaited
            result, error = None, raised
        self.loop.call_soon_threadsafe(self._settle, result, error)

    def _settle(self, result: Any, error: Exception | None) -> None:
        if self.future.cancelled():
            return
        if error is None:
            self.future.set_result(result)
        else:
            self.future.set_exception(error)


class DatabaseThreads:
    """At most `most` threads with a database connection each; those beyond `least` end when idle."""

    def __init__(self, *, most: int, least: int, idle_seconds: float) -> None:
        """Start without threads; they come with the work."""
        self._most, self._least, self._idle_seconds = most, least, idle_seconds
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._lock = threading.Lock()
        self._alive = 0
        self._idle = 0

    def run(self, work: Callable[[], T]) -> asyncio.Future[T]:
        """Return the future of work done on one of the threads.

        Raises:
            ServerBusy: too much is waiting already.

        """
        if self._jobs.qsize() >= WAITING_MAX:
            raise ServerBusy("too many requests are waiting for the database")
        loop = asyncio.get_running_loop()
        job = _Job(work, loop.create_future(), loop)
        self._jobs.put(job)
        with self._lock:
            is_needed = self._idle < self._jobs.qsize() and self._alive < self._most
            self._alive += is_needed
        if is_needed:
            threading.Thread(target=self._work, name="database", daemon=True).start()
        return job.future

    def stop(self) -> None:
        """Let every thread end after what it is doing."""
        for _ in range(self._most):
            self._jobs.put(None)

    def _work(self) -> None:
        try:
            while (job := self._next_job()) is not None:
                job.do()
        finally:
            connection.close()

    def _next_job(self) -> _Job | None:
        """Return the next job, or None when this thread is to end."""
        while True:
            with self._lock:
                self._idle += 1
            try:
                job = self._jobs.get(timeout=self._idle_seconds)
            except Empty:
                job = None
                if self._stays():
                    continue
                return None
            with self._lock:
                self._idle -= 1
                self._alive -= job is None
            return job

    def _stays(self) -> bool:
        with self._lock:
            self._idle -= 1
            if self._alive <= self._least:
                return True
            self._alive -= 1
            return False


class Availability:
    """Whether the database answers; after a connection failure requests are refused until a probe finds it back."""

    def __init__(self) -> None:
        """Assume that it does."""
        self.is_up = True
        self.failed_at = 0.0

    def check(self) -> None:
        """Raise ServerBusy while the database is away."""
        if not self.is_up:
            raise ServerBusy("the database does not answer")

    def failed(self) -> None:
        """Note a connection failure."""
        if self.is_up:
            logger.error("the database does not answer; requests are refused until it does")
        self.is_up, self.failed_at = False, time.monotonic()

    def recovered(self) -> None:
        """Note that it answers again."""
        if not self.is_up:
            logger.warning("the database answers again after %.1f s", time.monotonic() - self.failed_at)
        self.is_up = True
