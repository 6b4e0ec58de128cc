"""The group-commit writer: everything submitted since the last commit becomes one transaction.

One thread a worker, with one connection. Measured: one transaction a message reaches about 200 messages/s, batches
reach 4,000 by the ORM and 14,000 by psycopg. `submit` → `_run` → `_commit` → `sending.decide` → rows → COMMIT →
`_publish`.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from queue import Empty, SimpleQueue

from django.db import Error, connection

from messaging.delivery.doors import DEADLINE_SECONDS, Availability, is_connection_lost, is_lock_timeout, is_repeatable
from messaging.delivery.hub import Hub, PlacedReply
from messaging.delivery.news import News
from messaging.delivery.pairs import KnownPairs
from messaging.delivery.rows import Facts, Pair, Rows, Wanted
from messaging.delivery.sending import Appended, Outcome, Repeated, SendCommand, decide
from messaging.delivery.sent import Result, result_of_appended, result_of_repeated
from messaging.errors import NotFound
from messaging.protocol.errors import ChatError, InternalError, ServerBusy
from messaging.schemas.messages import Sent

logger = logging.getLogger(__name__)
BATCH_MAX = 500  # messages taken from the queue for one transaction, beside those passed over before
QUEUE_MAX = 5_000  # messages waiting; beyond it SERVER_BUSY
SKIPS_MAX = 3  # batches that pass over a locked conversation before one waits for it
BATCH_TRIES = 5
PUT_OFF_SECONDS = 0.25  # before a conversation that is held for long is waited for again
PAUSE_SECONDS = 0.002  # before messages that were passed over are tried again, if no others come


@dataclass(slots=True, eq=False)
class _Pending:
    """A submitted command and who waits for it."""

    command: SendCommand
    future: asyncio.Future[Sent]
    deadline: float  # on the loop's clock
    is_answered: bool = False  # by the deadline: its commit, if it comes, is an event like any other


class Writer:
    """The only writer of messages in this process."""

    def __init__(self, rows: Rows, hub: Hub, publish: Callable[[list[News]], None], availability: Availability) -> None:
        """Start the thread; results come back to the running loop."""
        self._rows = rows
        self._hub = hub
        self._publish_elsewhere = publish
        self._availability = availability
        self._loop = asyncio.get_running_loop()
        self._queue: SimpleQueue[_Pending | None] = SimpleQueue()
        self._ahead: list[_Pending] = []  # passed over, to be taken before the queue: what was sent first goes first
        self._skip_until = 0.0  # on the monotonic clock: conversations that others hold are not waited for
        self._pending: dict[str, _Pending] = {}  # by message id, in the order of submission
        self.pairs = KnownPairs()
        self._is_stopping = False
        self._thread = threading.Thread(target=self._run, name="writer", daemon=True)
        self._thread.start()

    # On the loop.

    def submit(self, command: SendCommand) -> asyncio.Future[Sent]:
        """Queue a message; the future is done once it is committed and published, and the reply is on its way.

        Raises:
            ServerBusy: the queue is full, the database is away or the worker is stopping.

        """
        self._availability.check()
        if len(self._pending) >= QUEUE_MAX or self._is_stopping:
            raise ServerBusy("too many messages are waiting to be stored")
        pending = _Pending(command, self._loop.create_future(), self._loop.time() + DEADLINE_SECONDS)
        self._pending[command.message_id] = pending
        self._hub.in_flight[command.message_id] = self._loop.create_future()
        self._queue.put(pending)
        return pending.future

    def expire(self) -> None:
        """Answer SERVER_BUSY to what has waited too long; call it about once a second."""
        now = self._loop.time()
        for pending in tuple(self._pending.values()):
            if pending.deadline > now:
                break  # they were submitted in order
            if not pending.is_answered:
                pending.is_answered = True
                if not pending.future.done():
                    pending.future.set_exception(ServerBusy("the message was not stored in time"))

    async def stop(self) -> None:
        """Store what has been submitted, then end the thread."""
        self._is_stopping = True
        self._queue.put(None)
        await asyncio.to_thread(self._thread.join)

    def _publish(self, batch: list[_Pending], results: list[Result | ChatError]) -> None:
        """Give a batch's results to its senders and its events to everybody, in the order of the batch."""
        news: list[News] = []
        for pending, result in zip(batch, results, strict=True):
            if not isinstance(result, ChatError):
                reply = None if pending.is_answered else _placed(pending.command, result)
                self._hub.take(result.news, reply)
                if reply is not None and not result.has_event:
                    self._hub.place_reply(reply)
                news += result.news
            self._settle(pending, result)
        if news:
            self._publish_elsewhere(news)

    def _settle(self, pending: _Pending, result: Result | ChatError) -> None:
        self._pending.pop(pending.command.message_id, None)
        self._hub.in_flight.pop(pending.command.message_id).set_result(None)
        if pending.future.done():
            return
        if isinstance(result, ChatError):
            pending.future.set_exception(result)
        else:
            pending.future.set_result(result.reply)

    # On the writer's thread.

    def _run(self) -> None:
        try:
            while (batch := self._next_batch()) is not None:
                self._store(batch)
        finally:
            connection.close()

    def _next_batch(self) -> list[_Pending] | None:
        """Take what was passed over and all that are there, or wait for a message; None when the writer is to end."""
        batch, self._ahead = self._ahead, []
        wait_seconds = PAUSE_SECONDS if batch else None
        for _ in range(BATCH_MAX):
            try:
                pending = self._queue.get(timeout=wait_seconds)
            except Empty:
                break
            if pending is None:
                self._queue.put(None)
                return batch or None
            batch.append(pending)
            wait_seconds = 0
        return batch

    def _store(self, batch: list[_Pending]) -> None:
        """Commit a batch; what fails as a whole is tried again one by one, so that one cannot fail its neighbours."""
        try:
            self._commit_repeatedly(batch)
        except Error as error:
            if is_lock_timeout(error):
                self._put_off(batch)
            elif is_connection_lost(error):
                connection.close()
                self._loop.call_soon_threadsafe(self._availability.failed)
                self._finish(batch, [ServerBusy("the database does not answer")] * len(batch))
            else:
                self._one_by_one(batch, error)
        except Exception as error:  # noqa: BLE001 — the writer's thread must not die of one batch
            self._one_by_one(batch, error)

    def _put_off(self, batch: list[_Pending]) -> None:
        """Go on without what has waited for a lock in vain: its conversation is passed over for a while."""
        self._skip_until = time.monotonic() + PUT_OFF_SECONDS
        self._ahead = batch + self._ahead

    def _one_by_one(self, batch: list[_Pending], error: Exception) -> None:
        if len(batch) > 1:
            for pending in batch:
                pending.command.is_retry = True
                self._store([pending])
            return
        refusal = InternalError(error_id=batch[0].command.message_id)
        logger.error("message could not be stored, errorId %s", refusal.error_id, exc_info=error)
        self._finish(batch, [refusal])

    def _commit_repeatedly(self, batch: list[_Pending]) -> None:
        """Commit a batch, again after a deadlock or a lost connection, whose commits may have happened."""
        for remaining in reversed(range(BATCH_TRIES)):
            try:
                self._commit(batch)
            except Error as error:
                is_lost = is_connection_lost(error)
                if not remaining or not (is_lost or is_repeatable(error)):
                    raise
                if is_lost:
                    connection.close()
                    time.sleep(0.05 * (BATCH_TRIES - remaining))
                for pending in batch:
                    pending.command.is_retry = True
            else:
                return

    def _commit(self, batch: list[_Pending]) -> None:
        live = [pending for pending in batch if not pending.is_answered or pending.command.is_retry]
        outcomes: list[tuple[_Pending, Outcome]] = []
        with self._rows.transaction():
            ready = self._with_conversations(live, outcomes)
            ready, later = _without_twins(ready)
            facts = self._facts(ready)
            ready, held = self._without_held(ready, facts)
            outcomes += [(pending, decide(pending.command, facts)) for pending in ready]
            self._insert([outcome for _, outcome in outcomes if isinstance(outcome, Appended)], facts)
        self.pairs.note(_pairs_of(ready))
        results = [_result_of(outcome, facts, self._hub) for _, outcome in outcomes]
        self._finish([pending for pending, _ in outcomes], results)
        expired = [pending for pending in batch if pending not in live]
        self._finish(expired, [ServerBusy()] * len(expired))
        passed_over = {*later, *held}
        self._ahead += [pending for pending in batch if pending in passed_over]

    def _with_conversations(self, batch: list[_Pending], outcomes: list[tuple[_Pending, Outcome]]) -> list[_Pending]:
        """Fill in the conversations of those addressed to people, made if missing; refuse those to nobody."""
        # An earlier try may have been rolled back together with the conversation it had made: each looks anew.
        pairs = {pending.command.pair for pending in batch if pending.command.recipient is not None}
        known = {pair: conversation_id for pair in pairs if (conversation_id := self.pairs.get(pair))}
        unknown = pairs - known.keys()
        found = self._rows.create_direct(unknown) if unknown else {}
        ready = []
        for pending in batch:
            command = pending.command
            if command.recipient is not None:
                command.conversation_id = known.get(command.pair) or found.get(command.pair)
            if command.conversation_id is None:
                outcomes.append((pending, NotFound("there is no such user", field="recipientId")))
            else:
                ready.append(pending)
        return ready

    def _facts(self, batch: list[_Pending]) -> Facts:
        wanted = Wanted()
        for pending in batch:
            pending.command.want(wanted)
        is_due = any(pending.command.skips >= SKIPS_MAX for pending in batch)
        return self._rows.lock_and_read(wanted, wait=is_due and time.monotonic() >= self._skip_until)

    def _without_held(self, batch: list[_Pending], facts: Facts) -> tuple[list[_Pending], list[_Pending]]:
        """Split off commands to conversations that somebody else holds: one locked group must not stall a worker.

        So are those to a conversation of which another command was passed over before: none overtakes it.
        """
        held = facts.held | {pending.command.conversation_id for pending in self._ahead}
        ready: list[_Pending] = []
        passed_over: list[_Pending] = []
        for pending in batch:
            if pending.command.conversation_id in held:
                pending.command.skips += 1
                passed_over.append(pending)
            else:
                ready.append(pending)
        return ready, passed_over

    def _insert(self, appended: Sequence[Appended], facts: Facts) -> None:
        if not appended:
            return
        touched = {each.conversation.id: each.conversation for each in appended}
        mentions = [mention for each in appended for mention in each.mentions]
        self._rows.insert([each.row for each in appended], mentions, list(touched.values()), facts.moment)

    def _finish(self, batch: list[_Pending], results: Sequence[Result | ChatError]) -> None:
        if batch:
            self._loop.call_soon_threadsafe(self._publish, batch, list(results))


def _placed(command: SendCommand, result: Result) -> PlacedReply:
    return PlacedReply(command.caller.connection, result.conversation_id, result.seq, result.reply_frame)


def _result_of(outcome: Outcome, facts: Facts, hub: Hub) -> Result | ChatError:
    if isinstance(outcome, Appended):
        return result_of_appended(outcome, facts.moment, hub.is_online)
    if isinstance(outcome, Repeated):
        return result_of_repeated(outcome, hub.is_online)
    return outcome


def _pairs_of(batch: list[_Pending]) -> dict[Pair, str]:
    """Return the conversations of the pairs just committed."""
    commands = [pending.command for pending in batch if pending.command.recipient is not None]
    return {command.pair: command.conversation_id for command in commands if command.conversation_id}


def _without_twins(batch: list[_Pending]) -> tuple[list[_Pending], list[_Pending]]:
    """Split off commands whose client id stands in the batch already: the next batch knows the first one's message."""
    seen: set[tuple[object, str]] = set()
    first: list[_Pending] = []
    later: list[_Pending] = []
    for pending in batch:
        client_id = pending.command.client_message_id
        key = (pending.command.sender, client_id or "")
        (later if client_id is not None and key in seen else first).append(pending)
        seen.add(key)
    return first, later
