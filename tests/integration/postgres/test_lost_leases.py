"""What a scheduler does with chunks whose lease it has lost, or never knew that it had."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
from lorax_batch_scheduler.errors import DatabaseError
from lorax_batch_scheduler.job import Job, JobEvent
from lorax_batch_scheduler.objects import keys
from lorax_batch_scheduler.objects.directory import DirectoryObjectStore
from lorax_batch_scheduler.ports import ChunkResults, CommitReceipt, JobActivity, LeasedChunk
from lorax_batch_scheduler.scheduling import output_file
from lorax_batch_scheduler.scheduling import scheduler as scheduler_module
from lorax_batch_scheduler.scheduling.output_file import OutputFile
from lorax_batch_scheduler.work import RowOutcome

from tests.integration.postgres.conftest import LEASE, Stores
from tests.integration.postgres.lone_scheduler import LoneScheduler, claim_all, lone_scheduler, with_methods
from tests.integration.postgres.test_commit import results_of


@pytest.fixture
async def job(stores: Stores) -> Stores:
    """A queued job of one chunk of five rows."""
    await stores.ready_dataset(5)
    await stores.queued_job()
    return stores


async def finalise(lone: LoneScheduler, job: Job) -> Job | None:
    """Let the scheduler end a job, with its committer at work."""
    committing = asyncio.create_task(lone.scheduler.committer.run())
    try:
        return await lone.finaliser.finalise(job, lone.name)
    finally:
        committing.cancel()
        await asyncio.wait([committing])


def answer(lone: LoneScheduler, work_no: int, *rows: int) -> None:
    """Let the server answer rows of the n-th chunk that it was given."""
    lease = lone.runner.given[work_no].lease
    for row in rows:
        lone.scheduler.committer.add(lease, row, row + 1, b"{}\n", RowOutcome.SUCCEEDED, 1, 1)


@pytest.fixture
async def objects(tmp_path: Path) -> AsyncIterator[DirectoryObjectStore]:
    """An empty object store."""
    async with DirectoryObjectStore(tmp_path) as store:
        yield store


def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let files of a few lines have several parts."""
    monkeypatch.setattr(output_file, "PART_BYTES", 20)
    monkeypatch.setattr(keys, "LEAST_PART_BYTES", 1)


async def test_a_chunk_whose_commit_is_refused_sends_no_more_rows(job: Stores, objects: DirectoryObjectStore) -> None:
    lone = await lone_scheduler(job, objects)
    await lone.tick()
    (work,) = lone.runner.given
    await lone.lose_lease()
    answer(lone, 0, 0)
    await lone.commit()
    assert lone.runner.given_up == [work]


async def test_a_chunk_whose_lease_is_lost_is_not_given_to_another_server(
    job: Stores, objects: DirectoryObjectStore
) -> None:
    lone = await lone_scheduler(job, objects)
    await lone.tick()
    (work,) = lone.runner.given
    await lone.lose_lease()
    await lone.scheduler._keeper._come_back()
    assert lone.runner.given_up == [work]
    await lone.tick()
    newer = lone.runner.given[-1]
    lone.scheduler.returned(work)  # its last row in flight has ended
    await lone.tick()
    assert [given.lease.epoch for given in lone.runner.given] == [work.lease.epoch, newer.lease.epoch]
    known = lone.scheduler._book.get("job_1")
    assert known is not None
    assert list(known.works) == [newer]


async def test_a_chunk_whose_lease_is_lost_while_it_is_read_is_not_sent(
    job: Stores, objects: DirectoryObjectStore
) -> None:
    async def claim(*arguments: object) -> list[LeasedChunk]:
        leased = await job.leases.claim_chunks(*arguments)  # type: ignore[arg-type]
        if leased and not lost:
            lost.extend(leased)
            await lone.lose_lease()
            await lone.scheduler._keeper._come_back()
        return leased

    lost: list[LeasedChunk] = []
    lone = await lone_scheduler(job, objects, leases=with_methods(job.leases, claim_chunks=claim))
    await lone.tick()
    assert lost
    assert lone.runner.given == []
    await lone.tick()
    (work,) = lone.runner.given
    assert work.lease.epoch > lost[0].epoch


async def test_old_leases_are_given_up_even_when_the_answer_to_the_new_name_is_lost(
    job: Stores, objects: DirectoryObjectStore
) -> None:
    async def register(*arguments: object, **options: object) -> None:
        await job.leases.register_scheduler(*arguments, **options)  # type: ignore[arg-type]
        if len(registered) == 1:
            registered.append(arguments)
            raise DatabaseError("the answer got lost")
        registered.append(arguments)

    registered: list[object] = []
    lone = await lone_scheduler(job, objects, leases=with_methods(job.leases, register_scheduler=register))
    await lone.tick()
    await lone.lose_lease()
    with pytest.raises(DatabaseError):
        await lone.scheduler._keeper._come_back()
    assert await job.leases.renew_scheduler(lone.name, LEASE), "so it will never hear again that its leases are lost"
    assert lone.runner.given_up == lone.runner.given


async def test_a_commit_that_is_refused_though_the_chunk_is_ours_does_not_strand_it(
    job: Stores, objects: DirectoryObjectStore
) -> None:
    async def commit(*arguments: object) -> CommitReceipt:
        receipt = await job.leases.commit_results(*arguments)  # type: ignore[arg-type]
        return CommitReceipt(accepted=set(), complete_jobs=receipt.complete_jobs)

    leases = with_methods(job.leases, commit_results=commit)
    lone = await lone_scheduler(job, objects, leases=leases)
    await lone.tick()
    answer(lone, 0, 0)
    await lone.commit()
    await lone.commit()
    (left,) = await job.leases.rows_left(["job_1"])
    assert left.row_count == 4


async def test_a_chunk_whose_claim_was_not_answered_is_given_back_though_its_job_was_paused(job: Stores) -> None:
    await job.leases.register_scheduler("s1", LEASE, exclusive=False)
    await claim_all(job, "s1")
    await job.jobs.move_job("job_1", JobEvent.PAUSE)
    await job.leases.release_forgotten("s1", [])
    await job.jobs.move_job("job_1", JobEvent.RESUME)
    assert len(await job.leases.rows_left(["job_1"])) == 1


async def test_a_claim_that_arrives_after_all_was_given_back_does_not_strand_its_chunk(
    job: Stores, objects: DirectoryObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def claim(*arguments: object) -> list[LeasedChunk]:
        if not late:
            late.append(arguments)
            raise DatabaseError("the connection was cut before the request was read")
        return await job.leases.claim_chunks(*arguments)  # type: ignore[arg-type]

    late: list[tuple[object, ...]] = []
    lone = await lone_scheduler(job, objects, leases=with_methods(job.leases, claim_chunks=claim))
    with pytest.raises(ExceptionGroup):
        await lone.tick()
    lone.scheduler._claims_are_certain = False
    await lone.scheduler._release_forgotten()
    await job.leases.claim_chunks(*late[0])  # type: ignore[arg-type]
    await lone.tick()
    assert lone.runner.given == [], "the chunk is leased to us, and nobody knows"
    monkeypatch.setattr(scheduler_module, "RECONCILE_INTERVAL_S", 0.0)
    await lone.tick()
    assert len(lone.runner.given) == 1


async def test_no_file_is_written_while_a_row_has_no_result(
    job: Stores, objects: DirectoryObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lease is lost between fence and commit; what was written then would be kept as the last part of the file."""
    small_parts(monkeypatch)

    async def commit(name: str, results: Sequence[ChunkResults], activity: Sequence[JobActivity]) -> CommitReceipt:
        if any(result.cancelled for result in results) and not lost:
            lost.append(name)
            return CommitReceipt(accepted=set(), complete_jobs=[])
        return await job.leases.commit_results(name, results, activity)

    lost: list[str] = []
    lone = await lone_scheduler(job, objects, leases=with_methods(job.leases, commit_results=commit))
    (chunk,) = await claim_all(job, lone.name)
    await job.leases.commit_results(lone.name, [results_of(chunk, [0, 1, 2], frozenset({0, 1, 2}))], [])
    settling = await job.jobs.move_job("job_1", JobEvent.CANCEL)
    await finalise(lone, settling)
    ended = await finalise(lone, settling)
    assert lost
    assert ended is not None
    assert ended.error_file is not None
    data = await objects.get(ended.error_file.key)
    assert (len(data), data.count(b"\n")) == (ended.error_file.byte_count, 5)


async def test_a_job_that_has_ended_and_was_deleted_gets_no_files(job: Stores, objects: DirectoryObjectStore) -> None:
    lone = await lone_scheduler(job, objects)
    settling = await job.jobs.move_job("job_1", JobEvent.CANCEL)
    ended = await finalise(lone, settling)
    assert ended is not None
    await job.jobs.delete_job("job_1")
    await objects.delete_prefix("results/job_1/")
    assert await finalise(lone, settling) is None
    assert [entry.key async for entry in objects.scan("results/job_1/")] == []


async def test_a_file_whose_upload_is_gone_is_written_anew(
    job: Stores, objects: DirectoryObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_parts(monkeypatch)
    await job.leases.register_scheduler("s1", LEASE, exclusive=False)
    (chunk,) = await claim_all(job, "s1")
    await job.leases.commit_results("s1", [results_of(chunk, [0, 1, 2, 3, 4])], [])

    class DiesAfterOnePart(OutputFile):
        async def _complete(self, progress: object) -> None:
            raise RuntimeError

    with pytest.raises(RuntimeError):
        await DiesAfterOnePart(job.results, objects, "job_1", error=False).write()
    progress = await job.results.output_progress("job_1", error=False)
    assert progress is not None
    await objects.abort_upload(progress.key, progress.upload_id)
    del progress.parts[1:]
    await job.results.save_output_progress("job_1", error=False, progress=progress)
    file = await OutputFile(job.results, objects, "job_1", error=False).write()
    assert (file.row_count, file.byte_count) == (5, len(await objects.get(file.key)))
