"""What a worker tells whoever keeps presence, and asks them; messaging does not know them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol


class Tracker(Protocol):
    """Keeps one worker's part of presence; on the event loop, and never in the way of anything."""

    def entered(self, client_id: str, user_id: str, address: str) -> None:
        """Note that a user's connection was authenticated."""

    def left(self, client_id: str) -> None:
        """Note that a connection has closed; one that was never authenticated changes nothing."""

    async def stop(self) -> None:
        """Write down what is left to write: the worker ends."""


class _Registered:
    new_tracker: Callable[..., Tracker] | None = None  # until the presence app is ready, or where there is none


def register_tracker(new_tracker: Callable[..., Tracker]) -> None:
    """Have presence kept by what this returns when it is called with a worker."""
    _Registered.new_tracker = new_tracker


def tracker_of(worker: object) -> Tracker:
    """Return what keeps presence for a worker."""
    return _Nobody() if _Registered.new_tracker is None else _Registered.new_tracker(worker)


class _Nobody:
    """Keeps no presence."""

    def entered(self, client_id: str, user_id: str, address: str) -> None: ...

    def left(self, client_id: str) -> None: ...

    async def stop(self) -> None: ...
