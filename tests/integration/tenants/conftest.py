"""A service that asks for keys, two tenants who have the same things, and keys of every kind."""

from __future__ import annotations  # the asynchronous stubs exist for type checkers only

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest_asyncio
from lorax_batch_scheduler.clock import SystemClock
from lorax_batch_scheduler.dataset import NewDataset
from lorax_batch_scheduler.job import JobEvent
from lorax_batch_scheduler.tenant import DEFAULT_TENANT, NewKey, Quotas, Role
from lorax_batch_scheduler.webhooks.signature import new_secret as new_webhook_secret
from lorax_batch_scheduler.webhooks.webhook import NewWebhook
from lorax_batch_server.api_keys import new_key_id, new_secret, secret_sha256
from lorax_batch_server.key_ring import KeyRing

from tests.integration.api.conftest import Api, open_api
from tests.integration.api.finished_job import run_rows, settle
from tests.integration.postgres.conftest import Stores
from tests.integration.postgres.conftest import stores as stores

Metadata = tuple[tuple[str, str], ...]
POLL_S = 0.05
TENANTS = ("acme", "globex")


def bearer(secret: str) -> Metadata:
    """Return what a call with a key carries."""
    return (("authorization", f"Bearer {secret}"),)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shared:
    """A service with tenants. What a tenant has is named after it: `ds_acme`, `job_acme`, `job_acme_done`."""

    api: Api
    stores: Stores
    keys: dict[str, Metadata] = field(default_factory=dict)
    """By what they are: `acme submit`, `operator`, `revoked`."""
    key_ids: dict[str, str] = field(default_factory=dict)

    async def add_key(self, name: str, tenant: str, role: Role, **fields: Any) -> Metadata:
        """Make a key, as no request could, and return what calls with it carry."""
        secret = new_secret()
        key = await self.stores.access.create_key(
            NewKey(key_id=new_key_id(), tenant=tenant, role=role, secret_sha256=secret_sha256(secret), **fields)
        )
        self.keys[name] = bearer(secret)
        self.key_ids[name] = key.key_id
        return self.keys[name]

    async def furnish(self, tenant: str) -> None:
        """Give a tenant a dataset, one that is in use, half of one, a waiting job and an ended one."""
        for dataset_id in (f"ds_{tenant}", f"ds_{tenant}_free"):
            await self.stores.ready_dataset(3, dataset_id=dataset_id, tenant=tenant)
        half = NewDataset(dataset_id=f"ds_{tenant}_half", tenant=tenant, name="half")
        await self.stores.datasets.create_dataset(half)
        done = f"job_{tenant}_done"
        await self.stores.queued_job(done, f"ds_{tenant}", tenant=tenant)
        await self.stores.jobs.move_job(done, JobEvent.ASSIGN)
        await self.stores.jobs.move_job(done, JobEvent.START)
        await run_rows(self.stores, done, 3, failed={1})
        await settle(self.api, done, JobEvent.ROWS_DONE)
        await self.stores.exports.create_export(
            f"exp_{tenant}", job_id=done, destination="s3://bucket/", request_id=None
        )
        await self.stores.queued_job(f"job_{tenant}", f"ds_{tenant}", tenant=tenant)
        await self.stores.webhooks.create_webhook(
            NewWebhook(
                webhook_id=f"wh_{tenant}",
                tenant=tenant,
                url="http://127.0.0.1:9/",
                event_types=[],
                description="",
                secret=new_webhook_secret(),
            )
        )


@pytest_asyncio.fixture
async def ring(stores: Stores) -> KeyRing:
    return KeyRing(stores.access, SystemClock(), poll_s=POLL_S)


@pytest_asyncio.fixture
async def keyed(stores: Stores, ring: KeyRing, tmp_path: Path) -> AsyncIterator[Shared]:
    """Yield the service with tenants and keys, who have nothing yet."""
    async with open_api(stores, tmp_path, ring) as api:
        shared = Shared(api=api, stores=stores)
        await shared.add_key("operator", DEFAULT_TENANT, Role.OPERATE)
        for tenant in TENANTS:
            await stores.access.create_tenant(tenant, Quotas(), 1.0)
            for role in (Role.READ, Role.SUBMIT):
                await shared.add_key(f"{tenant} {role.lower()}", tenant, role)
        await shared.add_key("revoked", "acme", Role.OPERATE)
        await stores.access.revoke_key(shared.key_ids["revoked"])
        past = datetime.now(UTC) - timedelta(seconds=1)
        await shared.add_key("expired", "acme", Role.OPERATE, expire_time=past)
        await shared.add_key("spare", "acme", Role.READ)
        yield shared


@pytest_asyncio.fixture
async def shared(keyed: Shared) -> Shared:
    """Return the service with tenants who have the same things each."""
    for tenant in TENANTS:
        await keyed.furnish(tenant)
    return keyed
