"""The conversations of people who have written to each other lately, which the writer need not look up."""

from __future__ import annotations

import time
from collections.abc import Mapping

from messaging.delivery.rows import Pair

PAIRS_MAX = 100_000
TURN_SECONDS = 15 * 60.0  # who has not written for two turns, half an hour at the most, is forgotten


class KnownPairs:
    """Conversations by pair, which never change once they are committed.

    Two turns of a plain dictionary: a cache that notes the time of each use would cost every message some microseconds.
    """

    def __init__(self) -> None:
        """Know nobody."""
        self._now: dict[Pair, str] = {}
        self._before: dict[Pair, str] = {}
        self._turned_at = time.monotonic()

    def get(self, pair: Pair) -> str | None:
        """Return the conversation of a pair, if it is known."""
        return self._now.get(pair) or self._before.get(pair)

    def note(self, written: Mapping[Pair, str]) -> None:
        """Know the conversations in which something has just been committed."""
        self._now.update(written)
        if len(self._now) >= PAIRS_MAX // 2:
            self._turn()

    def forget_idle(self) -> None:
        """Forget who has not written for half an hour; call it now and then, from any thread."""
        if time.monotonic() - self._turned_at >= TURN_SECONDS:
            self._turn()

    def _turn(self) -> None:
        self._before, self._now, self._turned_at = self._now, {}, time.monotonic()
