"""How the server leaves: politely and within ten seconds, or at once when it is told a second time."""

import asyncio
import logging
import os
import random
import signal
import threading
from collections.abc import Callable
from typing import Any

from config.websocket import ChatProtocol
from messaging.gateway import lifecycle

logger = logging.getLogger(__name__)

SPREAD = 3.0  # seconds over which the connections are told to end, so that their clients do not all return at once
_SPREAD_EACH = 0.01  # seconds between two connections when there are only a few
PATIENCE = 8.0  # seconds until connections that are still there are closed
_LAST_FLUSH = 0.3  # seconds for those close frames to leave
_CALLBACKS_UNTIL = 9.3  # seconds until what was registered to happen last is given up
_HARD_LIMIT = 9.8  # seconds after which the process ends whatever hangs
_STEP = 0.02  # seconds between two looks at who is left
_RESTARTING = 1012


class Stopping:
    """Ends the server on SIGTERM or SIGINT."""

    def __init__(self, server: Any, loop: asyncio.AbstractEventLoop, stop_reactor: Callable[[], None]) -> None:
        self._server = server  # the ChatServer
        self._loop = loop
        self._stop_reactor = stop_reactor
        self._leaving: asyncio.Task[None] | None = None  # set from the first signal on

    def listen_to_signals(self) -> None:
        """Stop on SIGTERM and SIGINT from now on."""
        for number in (signal.SIGTERM, signal.SIGINT):
            self._loop.add_signal_handler(number, self.request)

    def request(self) -> None:
        """Stop politely; when asked again, at once."""
        if self._leaving is not None:
            logger.warning("Told to stop a second time: leaving at once")
            os._exit(1)
        logger.info("Stopping: %d connections", len(self._connections()))
        _leave_at_the_latest(_HARD_LIMIT)
        self._leaving = self._loop.create_task(self._leave())

    async def _leave(self) -> None:
        started = self._loop.time()
        lifecycle.begin_draining()
        self._server.stop_listening()
        try:
            await self._tell_connections()
            await self._until_gone(started + PATIENCE)
            for connection in self._connections():
                connection.close(_RESTARTING)
            await self._until_gone(self._loop.time() + _LAST_FLUSH)
            await lifecycle.run_stop_callbacks(started + _CALLBACKS_UNTIL - self._loop.time())
        finally:
            self._stop_reactor()

    async def _tell_connections(self) -> None:
        """Begin to stop every connection, in random order and spread over some time."""
        connections = self._connections()
        random.shuffle(connections)
        pause = min(_SPREAD_EACH, SPREAD / max(len(connections), 1))
        started = self._loop.time()
        for number, connection in enumerate(connections):
            await asyncio.sleep(max(0.0, started + number * pause - self._loop.time()))
            connection.stop()

    async def _until_gone(self, deadline: float) -> None:
        """Wait until no connection is left and no request is being answered."""
        while self._server.is_busy() and self._loop.time() < deadline:  # noqa: ASYNC110  many things end it, none tells
            await asyncio.sleep(_STEP)

    def _connections(self) -> list[ChatProtocol]:
        return list(self._server.open_connections())


def _leave_at_the_latest(seconds: float) -> None:
    """End the process after this time even if a thread of it hangs."""

    def leave() -> None:
        logger.error("Something did not end in time: leaving without it")
        os._exit(1)

    watchdog = threading.Timer(seconds, leave)
    watchdog.daemon = True
    watchdog.start()
