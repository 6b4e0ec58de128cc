"""Failed logins: at most ten in a minute from one address for one user name.

Each attempt takes one of ten slots in the cache before the password is looked at, and a good one gives it back, so that
attempts side by side cannot pass unseen. A slot lasts a minute: the window slides. While the cache is away, each worker
counts for itself.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import time
from typing import NamedTuple

from django.core.cache import BaseCache, cache
from django.core.cache.backends.locmem import LocMemCache

from messaging.protocol.errors import RateLimited

logger = logging.getLogger(__name__)
FAILURES_MAX = 10
WINDOW_SECONDS = 60
_own_cache = LocMemCache("failed-logins", {"OPTIONS": {"MAX_ENTRIES": 10_000}})


class Slot(NamedTuple):
    """A place among the ten."""

    cache: BaseCache
    key: str

    def give_back(self) -> None:
        """Count the attempt as no failure."""
        with contextlib.suppress(Exception):  # a cache that went away in between: the slot ends by itself
            self.cache.delete(self.key)


def take_slot(address: str, username: str) -> Slot:
    """Take a place for one attempt to log in.

    Raises:
        RateLimited: all are taken.

    """
    # A hash: what is typed as a name may be a password, and is of any length.
    digest = hashlib.sha256(f"{address}\0{username}".encode()).hexdigest()
    keys = [f"login:{digest}:{number}" for number in range(FAILURES_MAX)]
    try:
        return _take(cache, keys)
    except RateLimited:
        logger.warning("too many failed logins from %s for one user name", address)
        raise
    except Exception as error:  # noqa: BLE001 — whatever a cache raises, people must be able to log in
        logger.warning("the cache does not count failed logins (%s); this worker does", type(error).__name__)
        return _take(_own_cache, keys)


def _take(store: BaseCache, keys: list[str]) -> Slot:
    taken: dict[str, float] = store.get_many(keys)
    now = time.time()
    for key in keys:
        if key not in taken and store.add(key, now, WINDOW_SECONDS):
            return Slot(store, key)
    oldest = min(taken.values(), default=now)
    raise RateLimited("too many failed logins", retry_after=max(1.0, oldest + WINDOW_SECONDS - now))
