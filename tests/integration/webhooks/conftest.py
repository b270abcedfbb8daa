"""Processes that deliver, and a service to manage webhooks with, on a test's own database."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from ipaddress import ip_network
from random import Random
from typing import Any

import pytest
import pytest_asyncio
from lorax_batch_client import AsyncClient, Delivery, Webhook
from lorax_batch_scheduler.clock import SystemClock
from lorax_batch_scheduler.job import JobEvent
from lorax_batch_scheduler.ports.webhook_store import DeliveryStore
from lorax_batch_scheduler.postgres.delivery_store import PostgresDeliveryStore
from lorax_batch_scheduler.postgres.webhook_store import PostgresWebhookStore
from lorax_batch_scheduler.sealing.key_ring import KeyRing, new_key
from lorax_batch_scheduler.sealing.key_source import FixedKeys
from lorax_batch_scheduler.sealing.sealer import Sealer
from lorax_batch_scheduler.telemetry.webhook_tally import WebhookTally
from lorax_batch_scheduler.webhooks.address_rules import AddressRules
from lorax_batch_scheduler.webhooks.back_off import BackOff
from lorax_batch_scheduler.webhooks.deliverer import Deliverer
from lorax_batch_scheduler.webhooks.sender import Sender
from lorax_batch_server.fleet import FleetService
from lorax_batch_server.fleet_watch import FleetHub
from lorax_batch_server.listen_address import ListenAddress
from lorax_batch_server.metrics import ApiMetrics
from lorax_batch_server.server import ApiServer
from lorax_batch_server.stopping import Stopping
from lorax_batch_server.webhooks import WebhooksService
from prometheus_client import CollectorRegistry

from tests.integration.postgres.conftest import Stores
from tests.integration.postgres.conftest import stores as stores
from tests.webhook_receiver import Received, Receiver

MAX_WEBHOOKS = 3
TIMEOUT_S = 0.5
QUICK = BackOff(first=timedelta(milliseconds=10), longest=timedelta(milliseconds=50))
KEY = new_key()
SEALER = Sealer(FixedKeys(KeyRing(keys=(KEY,))))
LOCAL = AddressRules(networks=(ip_network("127.0.0.0/8"),), allow_http=True)
WAIT_S = 30.0


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


@dataclass(slots=True, kw_only=True)
class Site:
    """A service, and whoever delivers for it."""

    stores: Stores
    client: AsyncClient
    receiver: Receiver
    rules: AddressRules
    names: "itertools.count[int]" = field(default_factory=lambda: itertools.count(1))

    async def webhook(self, **fields: Any) -> Webhook:
        """Return a new webhook to the receiver, which knows its secret."""
        created = await self.client.create_webhook(self.receiver.url, **fields)
        self.receiver.secret = created.secret
        return created.webhook

    async def job(self, job_id: str = "job_1") -> str:
        """Store a job that is QUEUED: its first event."""
        dataset_id = f"ds_{next(self.names)}"
        await self.stores.ready_dataset(2, dataset_id=dataset_id)
        return (await self.stores.queued_job(job_id, dataset_id)).job_id

    async def blink(self, job_id: str, times: int = 1) -> None:
        """Pause a job and queue it again: two events each time."""
        for _ in range(times):
            await self.stores.jobs.move_job(job_id, JobEvent.PAUSE)
            await self.stores.jobs.move_job(job_id, JobEvent.RESUME)

    @asynccontextmanager
    async def delivering(
        self,
        *,
        holder: str = "api_1",
        back_off: BackOff = QUICK,
        store: DeliveryStore | None = None,
        tally: WebhookTally | None = None,
    ) -> AsyncIterator[None]:
        """Deliver meanwhile, as one process of the service."""
        async with Sender(self.rules, SystemClock(), timeout_s=TIMEOUT_S) as sender:
            deliverer = Deliverer(
                store or PostgresDeliveryStore(self.stores.database, self.stores.listener, SEALER, kept_messages=5),
                sender,
                holder=holder,
                currency="USD",
                clock=SystemClock(),
                chance=Random(1),
                back_off=back_off,
                tally=tally,
                poll_s=0.05,
                min_interval_s=0.005,
            )
            task = asyncio.create_task(deliverer.run())
            try:
                yield
            finally:
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task

    async def arrived(self, done: int | Callable[[list[Received]], bool]) -> list[Received]:
        """Return what has arrived when that is enough."""
        enough = (lambda received: len(received) >= done) if isinstance(done, int) else done
        return await asyncio.to_thread(self.receiver.wait, enough)

    async def settled(self, webhook: Webhook, done: Callable[[Webhook], bool]) -> Webhook:
        """Return the webhook when it is as it should be."""
        async with asyncio.timeout(WAIT_S):
            while not done(now := await self.client.get_webhook(webhook)):  # noqa: ASYNC110 - it is asked over the wire
                await asyncio.sleep(0.005)
        return now

    async def logged(self, webhook: Webhook, done: Callable[[list[Delivery]], bool]) -> list[Delivery]:
        """Return the webhook's deliveries when they are as they should be."""
        async with asyncio.timeout(WAIT_S):
            while not done(now := await self.deliveries(webhook)):  # noqa: ASYNC110 - it is asked over the wire
                await asyncio.sleep(0.005)
        return now

    async def deliveries(self, webhook: Webhook) -> list[Delivery]:
        """Return the webhook's log."""
        return [one async for one in self.client.list_deliveries(webhook)]

    async def count(self, query: str) -> int:
        """Return what a query counts in the database."""
        async with self.stores.database.connection() as connection:
            return int(await connection.fetchval(query))


@asynccontextmanager
async def serving(stores: Stores, receiver: Receiver, rules: AddressRules) -> AsyncIterator[Site]:
    """Yield a service that allows these URLs."""
    stopping, clock = Stopping(), SystemClock()
    numbers = itertools.count(1)
    async with Sender(rules, clock, timeout_s=TIMEOUT_S) as sender:
        server = ApiServer(
            FleetService(stores.fleet, FleetHub(stores.fleet, stopping), clock),
            batch_inference=None,
            datasets=None,
            exports=None,
            metrics=ApiMetrics(CollectorRegistry()),
            stopping=stopping,
            webhooks=WebhooksService(
                PostgresWebhookStore(stores.database, SEALER, max_webhooks=MAX_WEBHOOKS),
                sender,
                clock,
                new_id=lambda: f"wh_{next(numbers)}",
            ),
        )
        address = await server.start(ListenAddress(host="127.0.0.1", port=0))
        async with AsyncClient(str(address)) as client:
            yield Site(stores=stores, client=client, receiver=receiver, rules=rules)
        await server.stop(0)


@pytest_asyncio.fixture
async def site(stores: Stores, receiver: Receiver) -> AsyncIterator[Site]:
    """Yield a service that may call this machine by http."""
    async with serving(stores, receiver, LOCAL) as site:
        yield site
