"""Looks now and then at how all webhooks are, for whoever watches the service."""

import asyncio
from typing import Final

from lorax_batch_scheduler.errors import DatabaseError
from lorax_batch_scheduler.ports.webhook_store import DeliveryStore
from lorax_batch_scheduler.telemetry.webhook_tally import WebhookTally

INTERVAL_S: Final = 15.0


class WebhookSampler:
    """Keeps a tally's sample fresh. While there is no webhook it asks nothing."""

    def __init__(self, store: DeliveryStore, tally: WebhookTally, *, interval_s: float = INTERVAL_S) -> None:
        self._store = store
        self._tally = tally
        self._interval_s = interval_s
        self._wake = asyncio.Event()

    async def run(self) -> None:
        """Look again and again, until cancelled."""
        stop_listening = self._store.on_webhooks(self._wake.set)
        try:
            while True:
                self._wake.clear()
                await self._wait(look_again=await self._look())
        finally:
            stop_listening()

    async def _look(self) -> bool:
        """Return whether there is something that changes by itself."""
        try:
            self._tally.sample = await self._store.sample()
        except DatabaseError:
            return True  # `database_trouble` says it; the sample stays as it was
        return self._tally.sample.any_webhook

    async def _wait(self, *, look_again: bool) -> None:
        try:
            async with asyncio.timeout(self._interval_s if look_again else None):
                await self._wake.wait()
        except TimeoutError:
            pass
