"""Publishing to the channel layer: batches of news to every worker's one subscription.

Only the hub publishes what a worker's own requests did. `publish_after_commit` is for everything else that changes rows
through the services: commands, Django admin, code of an embedding project.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from asgiref.sync import async_to_sync
from channels.layers import BaseChannelLayer, get_channel_layer
from django.db import transaction

from messaging.delivery.news import Batch, News, encode_batch

logger = logging.getLogger(__name__)
GROUP = "chat.workers"  # the channel-layer group of every worker's subscription
MESSAGE_TYPE = "chat.news"
NO_WORKER = ""
BATCH_MAX = 500  # items in one message of the layer
WAITING_MAX = 20_000
DEADLINE_SECONDS = 1.0  # a frozen Redis holds the layer's lock for five


def layer_message(batch: Batch) -> dict[str, str | bytes]:
    """Return a batch as a message of the channel layer."""
    return {"type": MESSAGE_TYPE, "batch": encode_batch(batch)}


def publish_after_commit(news: News) -> None:
    """Tell the workers of something once the transaction in force has committed; at once without one."""
    transaction.on_commit(lambda: _publish_from_outside(news))


def _publish_from_outside(news: News) -> None:
    layer = get_channel_layer()
    if layer is None:
        return
    try:
        async_to_sync(_send)(layer, Batch(NO_WORKER, 0, [news]))
    except Exception:  # noqa: BLE001 — whatever a layer raises, the database has it and the workers look there
        logger.warning("the channel layer did not take news; workers will find it in the database")


async def _send(layer: BaseChannelLayer, batch: Batch) -> None:
    async with asyncio.timeout(DEADLINE_SECONDS):
        await layer.group_send(GROUP, layer_message(batch))


class Publisher:
    """A worker's publishing: a task of its own, so that nothing ever waits for the channel layer."""

    def __init__(self, worker_id: str, layer: BaseChannelLayer) -> None:
        """Start publishing what is queued."""
        self.worker_id = worker_id
        self.is_up = True  # whether the last publish went through
        self._layer = layer
        self._counter = 0
        self._waiting: list[News] = []
        self._wake = asyncio.Event()
        self._task = asyncio.ensure_future(self._run())

    def queue(self, news: Sequence[News]) -> None:
        """Publish news soon; when too much is waiting the oldest is dropped, since the database has it."""
        self._waiting += news
        if len(self._waiting) > WAITING_MAX:
            self._counter += 1  # the hole makes the others look into the database
            del self._waiting[:-WAITING_MAX]
        self._wake.set()

    def beat(self) -> None:
        """Publish at least the counter, by which the others see that nothing is missing."""
        self._wake.set()

    async def stop(self) -> None:
        """Publish what is queued, then end."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        if self._waiting:
            await self._publish_waiting()

    async def _run(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            await self._publish_waiting()
            while self._waiting:
                await self._publish_waiting()

    async def _publish_waiting(self) -> None:
        news, self._waiting = self._waiting[:BATCH_MAX], self._waiting[BATCH_MAX:]
        self._counter += 1
        try:
            await _send(self._layer, Batch(self.worker_id, self._counter, news))
        except Exception as error:  # noqa: BLE001 — whatever a layer raises: the database has the news
            if self.is_up:
                logger.warning(
                    "the channel layer does not take news (%s); workers look into the database", type(error).__name__
                )
            self.is_up = False
        else:
            self.is_up = True
