"""One worker process's delivery: hub, writer, database threads and channel-layer subscription, wired and kept running.

daphne announces no start of a process, so the first connection starts it: `Worker.current()`.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Callable, Collection
from functools import partial
from typing import Any, ClassVar, TypeVar

from channels.layers import InMemoryChannelLayer, get_channel_layer
from django.conf import settings
from django.db import Error

from messaging.delivery import doors, events
from messaging.delivery.cache import cache
from messaging.delivery.caller import Caller
from messaging.delivery.doors import DEADLINE_SECONDS, Availability, DatabaseThreads, Written
from messaging.delivery.hub import Hub, PlacedReply
from messaging.delivery.memberships import user_key
from messaging.delivery.news import LiveEvent, News
from messaging.delivery.publishing import Publisher
from messaging.delivery.sending import SendCommand
from messaging.delivery.storage import rows
from messaging.delivery.subscription import LayerSubscription
from messaging.delivery.watch import Watch
from messaging.delivery.writer import Writer
from messaging.gateway.batching import Batcher
from messaging.gateway.presence import tracker_of
from messaging.protocol.envelope import encode_reply
from messaging.protocol.errors import AuthError, ServerBusy
from messaging.schemas.messages import Sent
from messaging.schemas.wire import Sequenced
from messaging.services import sessions
from messaging.services.reads import delivered_news
from messaging.services.sessions import Admission, Credentials

logger = logging.getLogger(__name__)
T = TypeVar("T")
CLEAN_EVERY_TICKS = 30
ADMISSIONS_MAX = 200  # connects looked up together

# Of a worker's connections one is the writer's, one the checks', one that of Django's own views; the rest the doors'.
CONNECTIONS_BESIDE_THE_DOORS = 3


class Worker:
    """Everything that one process needs to deliver; made on its event loop."""

    _current: ClassVar[Worker | None] = None

    def __init__(self) -> None:
        """Wire the parts and start them."""
        self.id = uuid.uuid4().hex
        layer = get_channel_layer()
        if layer is None:
            raise RuntimeError("CHANNEL_LAYERS has no default layer")
        self.hub = Hub(self._read_log)
        self.availability = Availability()
        self._doors = DatabaseThreads(
            most=max(1, settings.DB_MAX_CONNECTIONS - CONNECTIONS_BESIDE_THE_DOORS),
            least=max(1, settings.DB_MIN_CONNECTIONS - CONNECTIONS_BESIDE_THE_DOORS),
            idle_seconds=settings.DB_IDLE_TIMEOUT,
        )
        self.publisher = Publisher(self.id, layer)
        self.writer = Writer(rows(), self.hub, self.publisher.queue, self.availability)
        self.watch = Watch(self.hub, self.availability, tick=self._tick, tell_delivered=self._tell_delivered)
        self.subscription = LayerSubscription(self.id, layer, self.hub, self.watch.suspect)
        self._admissions: Batcher[Credentials, Admission | AuthError] = Batcher(self._admit, most=ADMISSIONS_MAX)
        self.presence = tracker_of(self)
        self._ticks = 0
        self._has_remote_layer = not isinstance(layer, InMemoryChannelLayer)

    @classmethod
    def current(cls) -> Worker:
        """Return this process's worker, started at the first call, which has to be on the event loop."""
        if cls._current is None:
            cls._current = cls()
        return cls._current

    @classmethod
    def running(cls) -> Worker | None:
        """Return this process's worker if it has been started."""
        return cls._current

    async def stop(self) -> None:
        """Store, record and publish what is under way, then end; the process is about to exit."""
        await self.writer.stop()
        await self.presence.stop()
        await self.watch.stop()
        await self.subscription.stop()
        await self.publisher.stop()
        self._doors.stop()
        Worker._current = None

    # The doors.

    async def reading(self, service: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        """Return what a reading service returns, from a database thread.

        Raises:
            ServerBusy: the database is away, too busy or too slow.
            ChatError: the service refused.

        """
        self.availability.check()
        return await self._within_deadline(self._doors.run(partial(doors.read, service, *args, **kwargs)))

    async def changing(self, service: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        """Return what a writing service that answers nobody returns; see `writing`."""
        return await self.writing(None, service, *args, **kwargs)

    async def writing(self, caller: Caller | None, service: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        """Return what a writing service returns, once it is committed and published.

        A reply with a seq has then been given to the hub, which sends it in the place of its event.

        Raises:
            ServerBusy: the database is away, too busy or too slow; if it commits after all, the caller gets the event.
            ChatError: the service refused.

        """
        self.availability.check()
        command_id = uuid.uuid4()
        self.hub.in_flight[str(command_id)] = settled = asyncio.get_running_loop().create_future()
        work = partial(doors.write, service, *args, command_id=command_id, **kwargs)
        try:
            future = self._doors.run(work)
        except ServerBusy:
            self._settle(command_id, settled)
            raise
        waiting = _Waiting(caller)
        future.add_done_callback(partial(self._committed, command_id, settled, waiting))
        try:
            return (await self._within_deadline(future)).result
        except ServerBusy:
            waiting.caller = None
            raise

    async def admit(self, credentials: Credentials) -> Admission:
        """Let a user in: all who wait for it are looked up together.

        Raises:
            AuthError: why not.
            ServerBusy: the database is away, too busy or too slow.

        """
        answer = await self._admissions.ask(credentials)
        if isinstance(answer, AuthError):
            raise answer
        return answer

    async def _admit(self, credentials: list[Credentials]) -> list[Admission | AuthError]:
        return await self.reading(sessions.admit, credentials)

    async def _within_deadline(self, future: asyncio.Future[T]) -> T:
        # The work itself cannot be cancelled: it is on a thread, and may yet be committed.
        done, _ = await asyncio.wait((future,), timeout=DEADLINE_SECONDS)
        if not done:
            raise ServerBusy("the database took too long")
        try:
            return future.result()
        except Error as error:
            if doors.is_outage(error):
                self.availability.failed()
                raise ServerBusy("the database does not answer") from error
            raise

    def _committed(
        self,
        command_id: uuid.UUID,
        settled: asyncio.Future[None],
        waiting: _Waiting,
        future: asyncio.Future[Written[Any]],
    ) -> None:
        """Publish what a service has committed, its reply in its event's place."""
        if not future.cancelled() and future.exception() is None:
            written = future.result()
            self.publish(written.news, _placed(waiting.caller, written.result))
        self._settle(command_id, settled)

    def _settle(self, command_id: uuid.UUID, settled: asyncio.Future[None]) -> None:
        self.hub.in_flight.pop(str(command_id), None)
        settled.set_result(None)

    def publish(self, news: list[News], reply: PlacedReply | None = None) -> None:
        """Bring committed news to this worker's sockets and to the other workers."""
        self.hub.take(news, reply)
        if news:
            self.publisher.queue(news)

    async def _read_log(
        self,
        conversation_id: str,
        *,
        after: int,
        limit: int,
        until: int | None = None,
        viewer_id: str | None = None,
    ) -> list[LiveEvent]:
        viewer = None if viewer_id is None else user_key(viewer_id)
        try:
            return await self.reading(
                events.read, conversation_id, after=after, limit=limit, until=until, viewer=viewer
            )
        except Error as error:
            logger.error("the log of %s could not be read", conversation_id, exc_info=error)  # noqa: TRY400
            raise ServerBusy from error

    async def _tell_delivered(self, moved: Collection[tuple[str, str]]) -> None:
        self.publish([*await self.reading(delivered_news, moved)])

    # Once a second.

    def _tick(self) -> bool:
        """Do what a second brings; return whether the database has to stand in for the channel layer."""
        self._ticks += 1
        if self._ticks % CLEAN_EVERY_TICKS == 0:
            cache.drop_idle()
            self.writer.pairs.forget_idle()
        self.writer.expire()
        self.publisher.beat()
        self.subscription.check_silence()
        return not (self._has_remote_layer and self.publisher.is_up and self.subscription.is_up)


async def reading(service: Callable[..., T], *args: Any, **kwargs: Any) -> T:
    """Return what a reading service of this process's worker returns; see `Worker.reading`."""
    return await Worker.current().reading(service, *args, **kwargs)


async def writing(caller: Caller, service: Callable[..., T], *args: Any, **kwargs: Any) -> T:
    """Return what a writing service of this process's worker returns; see `Worker.writing`."""
    return await Worker.current().writing(caller, service, *args, **kwargs)


async def submit(command: SendCommand) -> Sent:
    """Return the reply to a message once it is stored and on its way; see `Writer.submit`."""
    return await Worker.current().writer.submit(command)


class _Waiting:
    """Who waits for a commit; nobody once the deadline has passed."""

    def __init__(self, caller: Caller | None) -> None:
        self.caller = caller


def _placed(caller: Caller | None, reply: object) -> PlacedReply | None:
    if caller is None or not isinstance(reply, Sequenced) or not isinstance(reply.seq, int):
        return None
    frame = encode_reply(reply, caller.request_id, caller.ignored)
    return PlacedReply(caller.connection, reply.conversation_id, reply.seq, frame)
