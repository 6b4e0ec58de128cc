"""A worker's one subscription to the channel layer, and the suspicion that something on it was lost.

Each batch carries its worker's counter, and each worker publishes once a second even when idle. A hole in the
counters, two seconds of silence (our own echo counts too) or any error of the layer means: look into the database.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

from channels.layers import BaseChannelLayer

from messaging.delivery.hub import Hub
from messaging.delivery.news import Batch, decode_batch
from messaging.delivery.publishing import GROUP, NO_WORKER

logger = logging.getLogger(__name__)
SILENCE_SECONDS = 2.0
FORGET_SECONDS = 30.0  # a worker silent for longer has ended
RETRY_SECONDS = 1.0


class LayerSubscription:
    """Receives every worker's news for one worker's hub."""

    def __init__(self, worker_id: str, layer: BaseChannelLayer, hub: Hub, suspect: Callable[[], None]) -> None:
        """Subscribe in the background; `suspect` is called whenever news may have been lost."""
        self._worker_id = worker_id
        self._layer = layer
        self._hub = hub
        self._suspect = suspect
        self._counters: dict[str, int] = {}  # by worker
        self._heard_at: dict[str, float] = {}
        self.is_up = True
        self._task = asyncio.ensure_future(self._run())

    async def stop(self) -> None:
        """End the subscription."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    def check_silence(self) -> None:
        """Suspect a loss when a worker, this one too, has not been heard for two seconds; call it once a second."""
        now = time.monotonic()
        self._heard_at = {worker: at for worker, at in self._heard_at.items() if now - at < FORGET_SECONDS}
        own = self._heard_at.setdefault(self._worker_id, now)
        self.is_up = now - own < SILENCE_SECONDS
        if any(now - at >= SILENCE_SECONDS for at in self._heard_at.values()):
            self._suspect()

    async def _run(self) -> None:
        while True:
            try:
                channel = await self._layer.new_channel("chat.worker")
                await self._layer.group_add(GROUP, channel)
                self._suspect()  # whatever was published before this is only in the database
                while True:
                    # Never cancelled by a time-out: that would delete the channel.
                    self._receive(await self._layer.receive(channel))
            except Exception as error:  # noqa: BLE001 — the layer raises what its driver raises
                if self.is_up:
                    logger.warning(
                        "the channel layer failed (%s); looking into the database instead", type(error).__name__
                    )
                self.is_up = False
                self._suspect()
                await asyncio.sleep(RETRY_SECONDS)

    def _receive(self, message: dict[str, object]) -> None:
        raw = message.get("batch")
        if not isinstance(raw, bytes):
            return
        batch = decode_batch(raw)
        self._count(batch)
        if batch.worker_id != self._worker_id:  # the hub had our own before they were published
            self._hub.take(batch.news)

    def _count(self, batch: Batch) -> None:
        if batch.worker_id == NO_WORKER:
            return
        self._heard_at[batch.worker_id] = time.monotonic()
        known = self._counters.get(batch.worker_id)
        self._counters[batch.worker_id] = max(batch.counter, known or 0)
        if known is not None and batch.counter > known + 1:
            self._suspect()
