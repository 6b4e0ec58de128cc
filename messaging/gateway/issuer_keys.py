"""The public keys that a token issuer publishes (JWKS, RFC 7517), fetched in a thread and kept.

A burst of connects makes one fetch. Keys once seen stay good while the issuer is away, and an unknown key id, which
anybody can invent, costs the issuer one request in 30 s at the most.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from functools import lru_cache

from jwt import PyJWK, PyJWKClient, PyJWKSet

from messaging.protocol.errors import ServerBusy, TokenInvalid

logger = logging.getLogger(__name__)
FETCH_SECONDS = 5.0
AGAIN_SECONDS = 30.0  # between fetches for an unknown key id
FIRST_AGAIN_SECONDS = 5.0  # the same while there is no key at all, and so nobody can come in
RENEW_SECONDS = 300.0  # after which known keys are fetched again, so that those withdrawn go


class IssuerKeys:
    """The keys behind one address that are good for one algorithm."""

    def __init__(self, url: str, algorithm: str) -> None:
        """Start without keys; the first look-up fetches them."""
        self._client = PyJWKClient(url, cache_jwk_set=False, timeout=FETCH_SECONDS)
        self._algorithm = algorithm
        self._keys: dict[str | None, PyJWK] = {}  # by key id; the last good ones
        self._tried_at = -math.inf  # on the monotonic clock
        self._fetch: asyncio.Task[None] | None = None  # the one under way, or the last

    async def find(self, key_id: str | None) -> PyJWK:
        """Return the key that a token names.

        Raises:
            TokenInvalid: the issuer has no such key.
            ServerBusy: no keys could be fetched so far.

        """
        key = self._known(key_id)
        if key is None:
            await self._fetched(AGAIN_SECONDS if self._keys else FIRST_AGAIN_SECONDS)
            key = self._known(key_id)
        else:
            self._start_fetch(RENEW_SECONDS)
        if key is not None:
            return key
        if not self._keys:
            raise ServerBusy("the keys of the token issuer cannot be had", retry_after=FIRST_AGAIN_SECONDS)
        raise TokenInvalid("the issuer has no such key")

    def _known(self, key_id: str | None) -> PyJWK | None:
        """Return a key; a token that names none gets the only one there is."""
        if key_id is None and len(self._keys) == 1:
            return next(iter(self._keys.values()))
        return self._keys.get(key_id)

    async def _fetched(self, after_seconds: float) -> None:
        task = self._start_fetch(after_seconds)
        if task is not None:
            await asyncio.wait((task,))  # one waiter that gives up does not end it for the others

    def _start_fetch(self, after_seconds: float) -> asyncio.Task[None] | None:
        """Return the fetch under way, a new one if the last is long enough ago, else None."""
        loop = asyncio.get_running_loop()
        if self._fetch is not None and not self._fetch.done() and self._fetch.get_loop() is loop:
            return self._fetch
        if time.monotonic() - self._tried_at < after_seconds:
            return None
        self._tried_at = time.monotonic()
        self._fetch = loop.create_task(self._run())
        return self._fetch

    async def _run(self) -> None:
        try:
            async with asyncio.timeout(FETCH_SECONDS + 1):  # the socket's own time-out starts anew with each byte
                keys = await asyncio.to_thread(self._download)
        except Exception as error:  # noqa: BLE001 — whatever an issuer may answer, the last good keys stay
            logger.warning("the keys of the token issuer cannot be had (%s: %s)", type(error).__name__, error)
            return
        if not keys:
            logger.warning("the token issuer publishes no keys for %s", self._algorithm)
            return
        self._keys = keys

    def _download(self) -> dict[str | None, PyJWK]:
        keys = PyJWKSet.from_dict(self._client.fetch_data()).keys
        return {key.key_id: key for key in keys if self._is_usable(key)}

    def _is_usable(self, key: PyJWK) -> bool:
        return key.algorithm_name == self._algorithm and key.public_key_use in ("sig", None)


@lru_cache(maxsize=4)
def issuer_keys(url: str, algorithm: str) -> IssuerKeys:
    """Return this process's keys of an issuer."""
    return IssuerKeys(url, algorithm)
