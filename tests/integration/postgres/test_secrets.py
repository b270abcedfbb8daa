"""The tokens of jobs are stored sealed, and sealed anew while others work."""

import asyncio
from collections.abc import Sequence

import asyncpg
import pytest
from lorax_batch_scheduler.errors import NoSecretsKeyError, SecretUnreadableError
from lorax_batch_scheduler.job_secrets import JobSecrets
from lorax_batch_scheduler.postgres.job_store import PostgresJobStore
from lorax_batch_scheduler.postgres.secret_store import PostgresSecretStore
from lorax_batch_scheduler.sealing.key_ring import KeyRing, SealingKey, new_key
from lorax_batch_scheduler.sealing.key_source import FixedKeys
from lorax_batch_scheduler.sealing.sealer import Sealer

from tests.integration.postgres.conftest import Stores, new_job

TOKENS = JobSecrets(hf_token="hf_planted_in_a_test", adapter_token="pb_planted_in_a_test")
OLD, NEW = new_key(), new_key()


class Keyed:
    """Stores of a process that has these keys."""

    def __init__(self, stores: Stores, keys: Sequence[SealingKey]) -> None:
        sealer = Sealer(FixedKeys(KeyRing(keys=tuple(keys)) if keys else None))
        self.secrets = PostgresSecretStore(stores.database, sealer)
        self.jobs = PostgresJobStore(stores.database, stores.listener, self.secrets)

    async def create(self, *job_ids: str) -> None:
        for job_id in job_ids:
            await self.jobs.create_job(new_job(job_id, secrets=TOKENS))


async def rows(stores: Stores) -> list[asyncpg.Record]:
    async with stores.database.connection() as connection:
        return await connection.fetch("SELECT * FROM job_secrets ORDER BY job_id")


async def plant_plain(stores: Stores, *job_ids: str) -> None:
    """Store tokens as versions did that could not seal."""
    async with stores.database.connection() as connection:
        for job_id in job_ids:
            await stores.jobs.create_job(new_job(job_id))
            await connection.execute(
                "INSERT INTO job_secrets (job_id, hf_token) VALUES ($1, $2)", job_id, TOKENS.hf_token
            )


@pytest.fixture(autouse=True)
async def dataset(stores: Stores) -> None:
    await stores.ready_dataset(2)


async def test_tokens_are_stored_sealed_and_come_back(stores: Stores) -> None:
    keyed = Keyed(stores, [NEW])
    await keyed.create("job_1")
    (row,) = await rows(stores)
    assert (row["hf_token"], row["key_id"]) == (None, NEW.key_id)
    assert b"planted" not in row["sealed"]
    assert await keyed.jobs.secrets("job_1") == TOKENS
    assert repr(TOKENS) == "JobSecrets(...)"


async def test_a_job_without_tokens_needs_no_key_and_one_with_them_is_not_stored_without(stores: Stores) -> None:
    keyless = Keyed(stores, [])
    await keyless.jobs.create_job(new_job("job_1"))
    assert not await keyless.jobs.secrets("job_1")
    with pytest.raises(NoSecretsKeyError):
        await keyless.create("job_2")
    assert [job.job_id for job in await keyless.jobs.unfinished_jobs()] == ["job_1"]


async def test_a_row_that_was_moved_to_another_job_does_not_open(stores: Stores) -> None:
    keyed = Keyed(stores, [NEW])
    await keyed.create("job_1")
    await keyed.jobs.create_job(new_job("job_2"))
    async with stores.database.connection() as connection:
        await connection.execute("UPDATE job_secrets SET job_id = 'job_2'")
    with pytest.raises(SecretUnreadableError, match="job_2"):
        await keyed.jobs.secrets("job_2")


async def test_a_retry_has_the_tokens_sealed_for_itself(stores: Stores) -> None:
    keyed = Keyed(stores, [NEW])
    await keyed.create("job_1")
    await keyed.jobs.create_job(new_job("job_2"))
    async with stores.database.transaction() as connection:
        await keyed.secrets.copy(connection, "job_1", "job_2")
    assert await keyed.jobs.secrets("job_2") == TOKENS


async def test_plain_rows_are_read_and_sealed_and_nothing_else_is_touched(stores: Stores) -> None:
    await plant_plain(stores, "job_1", "job_2")
    await Keyed(stores, [OLD]).create("job_3")
    keyed = Keyed(stores, [NEW])
    assert await keyed.jobs.secrets("job_1") == JobSecrets(hf_token=TOKENS.hf_token)
    assert await keyed.secrets.counts() == {"": 2, OLD.key_id: 1}
    assert (await keyed.secrets.seal_anew(only_plain=True)).sealed == 2
    assert await keyed.secrets.counts() == {NEW.key_id: 2, OLD.key_id: 1}
    assert await keyed.jobs.secrets("job_2") == JobSecrets(hf_token=TOKENS.hf_token)


async def test_a_rotation_that_was_cut_off_goes_on_where_it_was(
    stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = [f"job_{number}" for number in range(7)]
    await Keyed(stores, [OLD]).create(*ids)
    both = Keyed(stores, [NEW, OLD])
    done = PostgresSecretStore._seal_batch

    async def once(store: PostgresSecretStore, key_id: str, job_ids: list[str]) -> tuple[int, int]:
        await done(store, key_id, job_ids)
        raise ConnectionAbortedError

    monkeypatch.setattr(PostgresSecretStore, "_seal_batch", once)
    with pytest.raises(ConnectionAbortedError):
        await both.secrets.seal_anew(batch=3)
    monkeypatch.undo()
    assert await both.secrets.counts() == {NEW.key_id: 3, OLD.key_id: 4}
    assert [await both.jobs.secrets(job_id) for job_id in ids] == [TOKENS] * 7
    assert (await both.secrets.seal_anew(batch=3)).sealed == 4
    assert (await both.secrets.seal_anew()).sealed == 0
    alone = Keyed(stores, [NEW])
    assert [await alone.jobs.secrets(job_id) for job_id in ids] == [TOKENS] * 7


async def test_rotations_beside_each_other_and_beside_new_and_deleted_jobs_lose_nothing(stores: Stores) -> None:
    ids = [f"job_{number:02}" for number in range(40)]
    old = Keyed(stores, [OLD])
    await old.create(*ids)
    both = Keyed(stores, [NEW, OLD])
    async with asyncio.TaskGroup() as group:
        rotations = [group.create_task(both.secrets.seal_anew(batch=3)) for _ in range(3)]
        group.create_task(both.create("job_aa", "job_zz"))
    assert sum(rotation.result().sealed for rotation in rotations) == 40
    assert await both.secrets.counts() == {NEW.key_id: 42}
    assert [await both.jobs.secrets(job_id) for job_id in ids] == [TOKENS] * 40


async def test_what_can_not_be_read_is_counted_left_and_keeps_nothing_else_back(stores: Stores) -> None:
    await Keyed(stores, [OLD]).create("job_2")
    lost = new_key()
    await Keyed(stores, [lost]).create("job_1")
    both = Keyed(stores, [NEW, OLD])
    done = await both.secrets.seal_anew(batch=1)
    assert (done.sealed, done.unreadable) == (1, 1)
    assert await both.secrets.counts() == {NEW.key_id: 1, lost.key_id: 1}
    with pytest.raises(SecretUnreadableError, match=lost.key_id):
        await both.jobs.secrets("job_1")
    with pytest.raises(NoSecretsKeyError):
        await Keyed(stores, []).secrets.seal_anew()
