"""What a worker keeps beside the database: sealed, bounded, and never believed without asking the database first.

Two levels: this process's memory, and the cache that all workers share where there is Redis. Both hold ciphertext bound
to its key, so that neither a dump of Redis nor an entry moved in it tells or changes anything.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import msgspec
from cachetools import TTLCache
from django.core.cache import cache as shared, caches
from django.core.cache.backends.locmem import LocMemCache

from messaging.delivery.encryption import Place, Unreadable, keyring

logger = logging.getLogger(__name__)
IDLE_SECONDS = 30 * 60.0  # what has not been used for so long is dropped
MEMORY_BYTES_MAX = 32 * 1024 * 1024
BREAKER_SECONDS = 5.0  # without the shared cache after it has failed: each failure takes 0.2 s
PURPOSE = b"cache"


class PlainValues:
    """Values in Redis as msgpack instead of Django's pickle, which would run whatever somebody has put there."""

    def dumps(self, value: Any) -> bytes | int:
        """Return a value as it is stored; integers as they are, so that Redis can count them."""
        return value if type(value) is int else msgspec.msgpack.encode(value)

    def loads(self, stored: bytes) -> Any:
        """Return a value, or None, as if there were none, for what nobody here has put."""
        try:
            return int(stored)
        except ValueError:
            pass
        try:
            return msgspec.msgpack.decode(stored)
        except msgspec.DecodeError:
            return None


class SealedCache:
    """Bytes by name; all of it may be gone at any time, and what is not as it was put reads as gone."""

    def __init__(self) -> None:
        """Start with an empty memory."""
        self._lock = threading.Lock()  # the database's threads share it
        self._memory: TTLCache[str, bytes] = TTLCache(MEMORY_BYTES_MAX, IDLE_SECONDS, _now, getsizeof=len)
        self._rests_until = 0.0  # after a failure of the shared cache; 0 while it answers

    def from_memory(self, name: str) -> bytes | None:
        """Return what this process has put or taken under a name."""
        with self._lock:
            sealed = self._memory.get(name)
            if sealed is None:
                return None
            self._memory[name] = sealed  # idle from now on
        return _opened(name, sealed)

    def from_shared(self, name: str) -> bytes | None:
        """Return what any worker has put under a name, and keep it in memory."""
        sealed = self._ask(shared.get, name)
        value = _opened(name, sealed) if isinstance(sealed, bytes) else None
        if value is not None:
            self._remember(name, sealed)
        return value

    def put(self, name: str, value: bytes) -> None:
        """Keep a value for this process and for the others, until it has been idle for half an hour."""
        key = keyring().current
        sealed = key.id.to_bytes(4) + key.seal(value, Place(name, "", ""), PURPOSE)
        self._remember(name, sealed)
        self._ask(shared.set, name, sealed, int(IDLE_SECONDS))

    def drop_idle(self) -> int:
        """Forget what has not been used for half an hour, and return how much that was; call it now and then."""
        with self._lock:
            return len(self._memory.expire())

    def _remember(self, name: str, sealed: bytes) -> None:
        with self._lock:
            if len(sealed) < MEMORY_BYTES_MAX:
                self._memory[name] = sealed

    def _ask(self, method: Callable[..., Any], *args: Any) -> Any:
        """Return what the shared cache says; None when there is none, it fails or rests from having failed."""
        if not has_shared_cache() or not self._may_ask():
            return None
        try:
            answer = method(*args)
        except Exception as error:  # noqa: BLE001 — whatever the driver raises: the database has the truth
            if not self._rests_until:
                logger.warning("the cache does not answer (%s); going on without it", type(error).__name__)
            self._rests_until = time.monotonic() + BREAKER_SECONDS
            return None
        if self._rests_until:
            logger.warning("the cache answers again")
            self._rests_until = 0.0
        return answer

    def _may_ask(self) -> bool:
        """Return whether to ask the shared cache: after a rest one thread does, and the others wait for its answer."""
        with self._lock:
            if self._rests_until and time.monotonic() >= self._rests_until:
                self._rests_until = time.monotonic() + BREAKER_SECONDS
                return True
            return not self._rests_until


@lru_cache(maxsize=1)
def has_shared_cache() -> bool:
    """Return whether there is a cache that workers share: the memory of one process is none beside that very memory."""
    return not isinstance(caches["default"], LocMemCache)


def _now() -> float:
    return time.monotonic()


def _opened(name: str, sealed: bytes) -> bytes | None:
    try:
        return keyring().open_bytes(int.from_bytes(sealed[:4]), sealed[4:], Place(name, "", ""), PURPOSE)
    except Unreadable:
        return None


cache = SealedCache()
