"""A tenant is deleted with all that it has, and nobody else loses anything."""

import pytest
from lorax_batch_scheduler.errors import NotFoundError, StateConflictError
from lorax_batch_scheduler.job import JobEvent, JobState
from lorax_batch_scheduler.objects.directory import DirectoryObjectStore
from lorax_batch_scheduler.removals import LATE_WRITES, Removals
from lorax_batch_scheduler.retention import RetentionPolicy
from lorax_batch_scheduler.tenant import NewKey, Quotas, Role
from lorax_batch_scheduler.webhooks.webhook import NewWebhook

from tests.integration.postgres.conftest import Stores
from tests.integration.postgres.retention.conftest import MakeCaretaker
from tests.integration.postgres.retention.ended_job import DAY, age, ended_job
from tests.integration.postgres.retention.test_complete_deletion import tables_that_name, tables_with

POLICY = RetentionPolicy(events=DAY, undelivered=0 * DAY)


async def furnish(stores: Stores, objects: DirectoryObjectStore, tenant: str, number: int) -> None:
    """Give a tenant a job that ended, one that waits, a key and a webhook."""
    await stores.access.create_tenant(tenant, Quotas(), 1.0)
    await stores.access.create_key(
        NewKey(key_id=f"key_{number}", tenant=tenant, role=Role.SUBMIT, secret_sha256=bytes([number]) * 32)
    )
    await stores.webhooks.create_webhook(
        NewWebhook(
            webhook_id=f"wh_{number}", tenant=tenant, url="https://example.com", event_types=[], description="",
            secret="whsec_YQ==",
        )
    )  # fmt: skip
    await ended_job(stores, objects, f"job_{number}", f"ds_{number}", tenant=tenant)
    # Its rows have no results yet: it can be cancelled, and has to be settled.
    await stores.queued_job(f"job_{number}_waits", f"ds_{number}", tenant=tenant)


async def test_a_deleted_tenant_leaves_nothing_and_others_keep_everything(
    stores: Stores, objects: DirectoryObjectStore, removals: Removals, caretaker: MakeCaretaker
) -> None:
    await furnish(stores, objects, "acme", 1)
    await furnish(stores, objects, "globex", 2)
    assert set(await tables_that_name(stores, "acme")) == await tables_with(stores, "tenant")
    others = await tables_that_name(stores, "globex")
    assert (await stores.access.delete_tenant("acme")).delete_time is not None
    clean_up = caretaker(POLICY)
    await clean_up.make_round()
    assert (await stores.jobs.get_job("job_1_waits")).state is JobState.CANCELLING
    with pytest.raises(NotFoundError):
        await stores.jobs.get_job("job_1")
    with pytest.raises(StateConflictError, match="being deleted"):
        await stores.access.update_tenant("acme", quotas={}, share_weight=None, disabled=False)
    # As a scheduler does that ends it.
    await settle(stores, "job_1_waits")
    assert (await clean_up.make_round())["tenants"] == 1
    with pytest.raises(NotFoundError):
        await stores.access.get_tenant("acme")
    async with stores.database.connection() as connection:
        # Whoever has the name next is told nothing of these; operators are.
        owners = await connection.fetch("SELECT DISTINCT tenant FROM job_events WHERE job_id LIKE 'job_1%'")
    assert [record["tenant"] for record in owners] == [""]
    assert await tables_that_name(stores, "globex") == others
    assert (await stores.access.access_table()).keys.keys() == {bytes([2]) * 32}
    await age(stores, 2 * DAY)
    await clean_up.make_round()
    for _ in range(2):  # at once, and again an hour later
        async with stores.database.connection() as connection:
            await connection.execute("UPDATE removals SET due = due - $1::interval", LATE_WRITES)
        await removals.carry_out_due()
    for name in ("acme", "job_1", "ds_1", "wh_1", "key_1"):
        assert await tables_that_name(stores, name) == {}
    assert {info.key.split("/")[1] async for info in objects.scan("")} == {"ds_2", "job_2"}


async def settle(stores: Stores, job_id: str) -> None:
    """End a cancelled job without its rows ever having run."""
    async with stores.database.connection() as connection:
        await connection.execute("DELETE FROM job_chunks WHERE job_id = $1", job_id)
        await connection.execute("UPDATE jobs SET total = 0 WHERE job_id = $1", job_id)
    await stores.jobs.move_job(job_id, JobEvent.FINISH)
