"""Tenants take turns at having their datasets ingested."""

import asyncio
from collections.abc import Sequence

import pytest_asyncio
from lorax_batch_scheduler.dataset import DatasetSummary, InvalidReport, NewDataset
from lorax_batch_scheduler.postgres.statements import SQL
from lorax_batch_scheduler.tenant import Quotas

from tests.integration.postgres.conftest import LEASE, Stores

TENANTS = ("acme", "globex")
CLAIMERS = ("scheduler-1", "scheduler-2")


@pytest_asyncio.fixture(autouse=True)
async def world(stores: Stores) -> None:
    for tenant in TENANTS:
        await stores.access.create_tenant(tenant, Quotas(), 1.0)
    for scheduler_id in CLAIMERS:
        await stores.leases.register_scheduler(scheduler_id, LEASE, exclusive=False)


async def bring(stores: Stores, tenant: str, count: int, first: int = 0) -> None:
    """Store datasets that wait: `acme-0`, `acme-1`, ..."""
    for number in range(first, first + count):
        name = f"{tenant}-{number}"
        await stores.datasets.create_dataset(NewDataset(dataset_id=name, tenant=tenant, name=name, source_path="/x"))


async def ingest_next(stores: Stores, scheduler_id: str, excluded: Sequence[str] = ()) -> str:
    """Claim and end one; return which."""
    dataset = await stores.datasets.claim_dataset(scheduler_id, excluded)
    if dataset is None:
        return ""
    await finish(stores, dataset.dataset_id, scheduler_id)
    return dataset.dataset_id


async def finish(stores: Stores, dataset_id: str, scheduler_id: str) -> None:
    summary = DatasetSummary(
        sha256="", byte_count=1, row_count=0, invalid=InvalidReport(), prompt_tokens=0, models=[], model_count=0
    )
    await stores.datasets.finish_ingest(dataset_id, summary, [], "", scheduler_id=scheduler_id)


async def test_a_tenant_with_many_does_not_hold_up_one_that_comes_later(stores: Stores) -> None:
    await bring(stores, "acme", 5)
    assert await ingest_next(stores, CLAIMERS[0]) == "acme-0"
    await bring(stores, "globex", 2)
    order = [await ingest_next(stores, CLAIMERS[number % 2]) for number in range(7)]
    assert order == ["globex-0", "acme-1", "globex-1", "acme-2", "acme-3", "acme-4", ""]
    # Who had no turn for long has the next one, and no more than that.
    await bring(stores, "acme", 2, first=5)
    await bring(stores, "globex", 2, first=2)
    assert [await ingest_next(stores, CLAIMERS[0]) for _ in range(3)] == ["globex-2", "acme-5", "globex-3"]


async def test_claims_that_are_held_count_as_turns(stores: Stores) -> None:
    await bring(stores, "acme", 3)
    await bring(stores, "globex", 1)
    held = [await stores.datasets.claim_dataset(claimer, []) for claimer in CLAIMERS]
    assert [dataset.dataset_id for dataset in held if dataset] == ["acme-0", "globex-0"]
    # An answer that was lost is given again, and is no other turn; what is put off is left out.
    again = await stores.datasets.claim_dataset(CLAIMERS[0], [])
    assert again == held[0]
    await finish(stores, "globex-0", CLAIMERS[1])
    assert await ingest_next(stores, CLAIMERS[1], ["acme-1"]) == "acme-2"


async def test_claims_of_the_same_moment_differ_and_serve_both_tenants_alike(stores: Stores) -> None:
    await bring(stores, "acme", 10)
    await bring(stores, "globex", 3)
    order: list[str] = []

    async def work(scheduler_id: str) -> None:
        while dataset_id := await ingest_next(stores, scheduler_id):
            order.append(dataset_id)

    async with asyncio.TaskGroup() as group:
        for claimer in CLAIMERS:
            group.create_task(work(claimer))
    assert sorted(order) == sorted([*(f"acme-{n}" for n in range(10)), *(f"globex-{n}" for n in range(3))])
    # Two at a time: who has claimed first may end last, so that places are certain to within two.
    assert max(order.index(f"globex-{number}") for number in range(3)) <= 7


async def test_a_claim_reads_a_few_datasets_of_each_tenant_and_not_all_that_wait(stores: Stores) -> None:
    async with stores.database.connection() as connection:
        await connection.execute(
            "INSERT INTO datasets (dataset_id, name, state, on_invalid, tenant) "
            "SELECT 'ds_' || n, 'many', 'VALIDATING', 'FAIL', CASE WHEN n % 50 = 0 THEN 'globex' ELSE 'acme' END "
            "FROM generate_series(1, 5000) AS n"
        )
        await connection.execute("ANALYZE datasets")
        plan = await connection.fetch(f"EXPLAIN {SQL.claim_dataset}", CLAIMERS[0], [])
    assert not [record[0] for record in plan if "Seq Scan on datasets" in record[0]]
