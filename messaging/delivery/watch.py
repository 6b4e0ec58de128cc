"""The database checks of one worker: where logs have got to, who was revoked, and what has been delivered.

The design allows no polling but this: a position check every 30 s, every second while the channel layer is down or
absent, and at once when news may have been lost; a revocation check every 2 s; and only with sockets open. Both have
one thread and one connection of their own, so that busy doors never delay them.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import logging
from collections.abc import Awaitable, Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar

from django.db import Error, connection

from messaging.delivery import doors, log
from messaging.delivery.doors import Availability
from messaging.delivery.hub import Hub
from messaging.delivery.memberships import Membership, changed_conversations, memberships_of, record_delivered, user_key
from messaging.delivery.news import Revoked
from messaging.delivery.profiles import UserKey
from messaging.delivery.revocations import revoked_since

logger = logging.getLogger(__name__)
T = TypeVar("T")
TICK_SECONDS = 1.0
POSITIONS_EVERY_TICKS = 30
CHECKS_EVERY_TICKS = 2  # revocations, and what has been delivered
FORGET_EVERY_TICKS = 15
OVERLAP = dt.timedelta(seconds=60)  # a transaction's rows carry the time of its start and appear at its end


class Watch:
    """Looks into the database for what nobody told."""

    def __init__(
        self,
        hub: Hub,
        availability: Availability,
        *,
        tick: Callable[[], bool],
        tell_delivered: Callable[[Collection[tuple[str, str]]], Awaitable[None]],
    ) -> None:
        """Start looking.

        Args:
            hub: whose sockets to look for.
            availability: told when the database comes back.
            tick: called every second; returns whether the channel layer cannot be relied on.
            tell_delivered: awaited with the (conversation, user) whose delivered positions have moved.

        """
        self._hub = hub
        self._availability = availability
        self._tick = tick
        self._tell_delivered = tell_delivered
        self._moved: set[tuple[str, str]] = set()  # (conversation, user) recorded since the others were told
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="checks")
        self._suspicion = asyncio.Event()
        self._recording = asyncio.Lock()
        self._checked_at: dt.datetime | None = None  # by the database's clock
        self._revoked_at: dt.datetime | None = None
        self._tasks = [
            asyncio.ensure_future(work()) for work in (self._run_ticks, self._run_checks, self._run_on_suspicion)
        ]

    def suspect(self) -> None:
        """Check positions at once: news may have been lost."""
        self._suspicion.set()

    async def stop(self) -> None:
        """Record what has been delivered, then end."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._guarded(self.record_delivered)
        await asyncio.get_running_loop().run_in_executor(self._thread, _close_connection)
        self._thread.shutdown(wait=False)

    async def _run_ticks(self) -> None:
        """Tick whatever the database does: a frozen one must not keep requests from being answered."""
        ticks = 0
        while True:
            await asyncio.sleep(TICK_SECONDS)
            ticks += 1
            is_alone = self._tick()
            if is_alone or ticks % POSITIONS_EVERY_TICKS == 0:
                self.suspect()
            if ticks % FORGET_EVERY_TICKS == 0:
                self._hub.forget_old_news()

    async def _run_checks(self) -> None:
        ticks = 0
        while True:
            await asyncio.sleep(TICK_SECONDS)
            ticks += 1
            if not self._availability.is_up:
                await self._guarded(self._probe)
            elif ticks % CHECKS_EVERY_TICKS == 0:
                await self._guarded(self._check_revocations)
                await self._guarded(self.record_delivered)
                await self._guarded(self._tell)

    async def _run_on_suspicion(self) -> None:
        while True:
            await self._suspicion.wait()
            self._suspicion.clear()
            await self._guarded(self.check_positions)
            await asyncio.sleep(TICK_SECONDS / 2)  # however many suspicions there are

    async def _guarded(self, check: Callable[[], Awaitable[None]]) -> None:
        """Run a check; a database that is away must not end the watching."""
        try:
            await check()
        except Error as error:
            if doors.is_outage(error):
                self._availability.failed()
            else:
                logger.error("a check failed", exc_info=error)  # noqa: TRY400 — with its trace, on one line's terms
        except Exception:
            logger.exception("a check failed")

    async def _call(self, service: Callable[..., T], *args: object) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, partial(doors.read, service, *args))

    async def _probe(self) -> None:
        await self._call(log.now)
        self._availability.recovered()
        self.suspect()

    # Positions.

    async def check_positions(self) -> None:
        """Find logs that have grown and memberships that began or ended since the last check."""
        if not self._hub.users or not self._availability.is_up:
            return
        keys = self._online()
        checked_at, changed, memberships = await self._call(_look, self._checked_at, keys)
        self._checked_at = checked_at
        self._hub.hear((conversation, seq) for conversation, seq in changed if conversation in self._hub.rooms)
        for key, found in memberships.items():
            for session in tuple(self._hub.users.get(str(key), {}).values()):
                session.memberships_changed(found)

    def _online(self) -> list[UserKey]:
        return [key for user in self._hub.users if (key := user_key(user)) is not None]

    # Revocations.

    async def _check_revocations(self) -> None:
        if not self._hub.users:
            self._revoked_at = None
            return
        self._revoked_at, ended = await self._call(_look_for_revoked, self._revoked_at, self._online())
        self._hub.take(ended)

    # Delivered positions.

    async def record_delivered(self) -> None:
        """Write down how far users have received their conversations, in bulk."""
        async with self._recording:  # what is on its way into the database still counts at a connect
            positions = self._hub.positions.collect()
            if positions:
                try:
                    await self._call(record_delivered, positions)
                    self._moved.update((conversation, user) for conversation, user, _ in positions)
                except Error:
                    self._hub.positions.give_back(positions)
                    raise

    async def _tell(self) -> None:
        """Tell of delivered positions only here, every two seconds: clients are told at most once a second."""
        moved, self._moved = self._moved, set()
        if moved:
            await self._tell_delivered(moved)

    async def record_departed(self) -> None:
        """Write down at once what closed connections have received: the user may be back in a moment."""
        await self._guarded(self.record_delivered)


def _close_connection() -> None:
    connection.close()  # looked up on this very thread: each has its own


def _look(
    since: dt.datetime | None, users: list[UserKey]
) -> tuple[dt.datetime, list[tuple[str, int]], dict[UserKey, list[Membership]]]:
    now = log.now()
    since = (since or now) - OVERLAP
    return now, changed_conversations(since), memberships_of(users, changed_since=since)


def _look_for_revoked(since: dt.datetime | None, users: list[UserKey]) -> tuple[dt.datetime, list[Revoked]]:
    now = log.now()
    return now, revoked_since((since or now) - OVERLAP, users)
