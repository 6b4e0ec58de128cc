"""One worker's part of presence: it writes down its connections, and tells its own people what has changed anywhere.

Nothing of presence travels over the channel layer. Every worker looks once a second for rows that have changed, and
tells those of its connections whom it concerns: presence crosses workers without Redis too, is coalesced by itself, and
costs the same few statements however many users come and go.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import logging
from collections.abc import Awaitable, Callable

from messaging.delivery.memberships import user_key
from messaging.gateway.worker import Worker
from messaging.protocol.errors import ServerBusy
from presence import services
from presence.services import Arrival

logger = logging.getLogger(__name__)
TICK_SECONDS = 1.0
SOON_SECONDS = 0.2  # from a connection's coming or going to its being written down
RENEW_SECONDS = 10.0  # a lease lasts for three of these


class PresenceTracker:
    """The `Tracker` of one worker."""

    def __init__(self, worker: Worker) -> None:
        """Start tracking."""
        self._worker = worker
        self._connections: dict[str, Arrival] = {}  # all that are open, by client id
        self._arrived: dict[str, Arrival] = {}  # not written down yet
        self._departed: set[str] = set()  # the same
        self._checked_at: dt.datetime | None = None  # by the database's clock
        self._renewed_at = float("-inf")  # the lease; by the loop's clock, as the next
        self._swept_at = float("-inf")
        self._wake = asyncio.Event()
        self._task = asyncio.ensure_future(self._run())

    def entered(self, client_id: str, user_id: str, address: str) -> None:
        """Note that a user's connection was authenticated."""
        if (key := user_key(user_id)) is not None:
            self._connections[client_id] = self._arrived[client_id] = Arrival(client_id, key, address)
            self._wake.set()

    def left(self, client_id: str) -> None:
        """Note that a connection has closed."""
        if self._connections.pop(client_id, None) is not None:
            if self._arrived.pop(client_id, None) is None:
                self._departed.add(client_id)
            self._wake.set()

    async def stop(self) -> None:
        """Let go of everybody at once: their grace periods begin."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        await self._guarded(self._end)

    async def _run(self) -> None:
        while True:
            # Nobody is told anything while nobody is connected.
            if self._connections or self._departed:
                await self._guarded(self._tick)
            try:
                async with asyncio.timeout(TICK_SECONDS):
                    await self._wake.wait()
                await asyncio.sleep(SOON_SECONDS)  # for the others who come at the same time
            except TimeoutError:
                pass
            self._wake.clear()

    async def _guarded(self, work: Callable[[], Awaitable[None]]) -> None:
        """Do something; what a database that is away keeps undone is done when it is back."""
        try:
            await work()
        except ServerBusy:
            self._renewed_at = float("-inf")
        except Exception:
            self._renewed_at = float("-inf")
            logger.exception("presence could not be kept up")

    async def _tick(self) -> None:
        if self._checked_at is None:
            await self._look()  # before our own are written down, so that they are a change
        now = asyncio.get_running_loop().time()
        if now - self._renewed_at >= RENEW_SECONDS:
            if not await self._worker.changing(services.renew_lease, self._worker.id):
                self._arrived = dict(self._connections)
            self._renewed_at = now
        await self._write_down()
        if now - self._swept_at >= TICK_SECONDS:
            await self._worker.changing(services.sweep)
            self._swept_at = now
        await self._look()

    async def _write_down(self) -> None:
        arrived, departed = self._arrived, self._departed
        if not (arrived or departed):
            return
        self._arrived, self._departed = {}, set()
        try:
            await self._worker.changing(services.count_connections, self._worker.id, list(arrived.values()), departed)
        except BaseException:
            self._arrived = {key: each for key, each in arrived.items() if key in self._connections} | self._arrived
            self._departed |= departed | (arrived.keys() - self._connections.keys())
            raise

    async def _look(self) -> None:
        """Find whose presence has changed, and tell those of this worker's people whom it concerns."""
        is_first = self._checked_at is None
        self._checked_at, found = await self._worker.reading(services.changes_since, self._checked_at)
        online = self._worker.hub.online
        changes = [each for each in found if each.is_online != (str(each.user) in online)]
        if not changes:
            return
        online |= {str(each.user) for each in changes if each.is_online}
        online -= {str(each.user) for each in changes if not each.is_online}
        if not is_first:
            viewers = [key for user in self._worker.hub.users if (key := user_key(user)) is not None]
            self._worker.hub.take(await self._worker.reading(services.news_of, changes, viewers))

    async def _end(self) -> None:
        await self._worker.changing(services.end_worker, self._worker.id)
