"""Whether this worker is on its way out, and what it must finish before it goes."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

logger = logging.getLogger(__name__)

StopCallback = Callable[[], Awaitable[None]]


class _Worker:
    """The state of this process."""

    is_draining = False  # True from the first signal to stop
    stop_callbacks: list[StopCallback] = []


def is_draining() -> bool:
    """Whether this worker takes no more work because it is stopping."""
    return _Worker.is_draining


def begin_draining() -> None:
    """Tell everyone who asks that this worker is stopping."""
    _Worker.is_draining = True


def on_stop(callback: StopCallback) -> None:
    """Have this awaited when the worker stops, after its last connection has gone; the last registered goes first."""
    _Worker.stop_callbacks.append(callback)


async def run_stop_callbacks(timeout_seconds: float) -> None:
    """Await what was registered with `on_stop`; what fails or takes too long is logged and does not stop the rest."""
    deadline = asyncio.get_running_loop().time() + timeout_seconds
    while _Worker.stop_callbacks:
        callback = _Worker.stop_callbacks.pop()
        try:
            async with asyncio.timeout_at(deadline):
                await callback()
        except Exception:
            logger.exception("%r failed while the worker was stopping", callback)
