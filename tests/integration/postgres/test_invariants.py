"""The checker of databases finds every damage: a sound one is broken in each way, and the complaint names what."""

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
import pytest_asyncio
from lorax_batch_scheduler.dataset import ChunkKind, NewDataset, UploadPart
from lorax_batch_scheduler.job import JobEvent, ResultFile
from lorax_batch_scheduler.ports.lease import ChunkResults, LeasedChunk, SegmentToStore
from lorax_batch_scheduler.running.result_line import error_line, success_line
from lorax_batch_scheduler.segment import Segment, encode_segment

from tests.integration.postgres.conftest import Stores
from tests.invariants.database import check_database, database_problems

pytestmark = pytest.mark.damages_database("that is what it is about")

ANSWER = b'{"usage":{"prompt_tokens":3,"completion_tokens":2}}'
UNCHECKED = (
    "ALTER TABLE jobs DROP CONSTRAINT results_add_up, DROP CONSTRAINT results_fit, DROP CONSTRAINT ended_is_complete"
)
UNCHECKED_CHUNKS = "ALTER TABLE job_chunks DROP CONSTRAINT done_is_counted, DROP CONSTRAINT complete_is_free"

DAMAGES = {
    "ds_1 has row_count 9, but its chunks hold 6": "UPDATE datasets SET row_count = 9 WHERE dataset_id = 'ds_1'",
    "ds_1 has invalid_row_count 1, but its": "UPDATE datasets SET invalid_row_count = 1 WHERE dataset_id = 'ds_1'",
    "ds_1 has chunks [0, 5], which": "UPDATE dataset_chunks SET chunk_no = 5 WHERE chunk_no = 1",
    "does not say where its chunks are": "UPDATE datasets SET storage_prefix = ''",
    "ds_1 is FAILED, but has 2 chunks": "UPDATE datasets SET state = 'FAILED' WHERE dataset_id = 'ds_1'",
    "a part at byte 11 behind one that ends at 10": "UPDATE upload_parts SET first_byte = 11 WHERE first_byte = 10",
    "says that 21 bytes are stored": "UPDATE datasets SET stored_bytes = 21 WHERE dataset_id = 'ds_half'",
    "has results for 5 of 6 rows, but its": f"{UNCHECKED}; UPDATE jobs SET result_count = 5 WHERE job_id = 'job_1'",
    "counts 5 + 0 rows, but 6 results": f"{UNCHECKED}; UPDATE jobs SET failed = 0 WHERE job_id = 'job_1'",
    "but its chunks mark 0": "UPDATE job_chunks SET unsuccessful = done & ~done WHERE job_id = 'job_1'",
    "has ended with 5 results for 6 rows": f"{UNCHECKED}; UPDATE jobs SET result_count = 5 WHERE job_id = 'job_1'",
    "has ended, but its chunks [1] are leased": f"{UNCHECKED_CHUNKS}; UPDATE job_chunks SET scheduler_id = 's1' "
    "WHERE job_id = 'job_1' AND chunk_no = 1",
    "its outcome is CANCELLED": "UPDATE jobs SET outcome = 'CANCELLED' WHERE job_id = 'job_1'",
    "has ended without its error_file": "UPDATE jobs SET error_file = NULL WHERE job_id = 'job_1'",
    "has 1 lines for its error_file, which has 5": "UPDATE jobs SET error_file = output_file WHERE job_id = 'job_1'",
    "job_2 has other chunks than its dataset": "UPDATE job_chunks SET model = 'other' WHERE job_id = 'job_2'",
    "job_2 has 7 rows, but its dataset ds_1 has 6": "UPDATE jobs SET total = 7 WHERE job_id = 'job_2'",
    "job_3 has 2 rows, but 1 of job job_1": "UPDATE jobs SET total = 2 WHERE job_id = 'job_3'",
    "is leased to s9, which is no scheduler": "UPDATE job_chunks SET scheduler_id = 's9' WHERE scheduler_id = 's1'",
    "is done, but leased to s1": f"{UNCHECKED_CHUNKS}; UPDATE job_chunks SET scheduler_id = 's1'",
    "in epoch 0: nothing fences it": "UPDATE job_chunks SET epoch = 0 WHERE scheduler_id = 's1'",
    "says that 0 rows are done, but marks 4": f"{UNCHECKED_CHUNKS}; UPDATE job_chunks SET done_count = 0",
    "marks rows as done behind its 4 rows": "UPDATE job_chunks SET done = B'11100001' WHERE done_count = 4",
    "without success that have no result": "UPDATE job_chunks SET unsuccessful = B'00000001' WHERE job_id = 'job_2'",
    "has bit sets of 16 and 8 for 4 rows": "UPDATE job_chunks SET done = done || B'00000000' WHERE row_count = 4",
    "at offset 3 behind one that ends at 4": "UPDATE segments SET first_offset = 3 WHERE first_offset = 4",
    "at offset 6 behind one that ends at 5": "UPDATE segments SET first_offset = 6 WHERE first_offset = 5",
    "has 6 results, but its segments end at offset 5": "DELETE FROM segments WHERE first_offset = 5",
    "its segments hold 0 error lines": "UPDATE segments SET error = false",
    "says 3 rows in": "UPDATE segments SET row_count = 3 WHERE first_offset = 0",
    "says lines 2 to 4, not 1 to 4": "UPDATE segments SET first_line = 2 WHERE first_offset = 0",
    "repeats lines that have their result already": "UPDATE segments SET blob = (SELECT blob FROM segments LIMIT 1)",
    "has the text of batch_req_job_1_1": "UPDATE segments SET job_id = 'job_2'",
    "is of errors, but line 1 is not": "UPDATE segments SET error = true",
    "results in its files, but 3 segments are left": "UPDATE jobs SET results_in = 'FILES' WHERE job_id = 'job_1'",
    "job_2 is deleted, but rows of it are left": "DELETE FROM jobs WHERE job_id = 'job_2'",
    "job_1 is there, but noted as deleted": "INSERT INTO job_remains VALUES ('job_1')",
    "are kept, but the horizon is 5": "UPDATE event_horizon SET sequence = 5",
    "used 16 prompt_tokens, but its rows tell of 15": "UPDATE jobs SET prompt_tokens = 16 WHERE job_id = 'job_1'",
    "used 9 completion_tokens, but its rows tell of 10": "UPDATE jobs SET completion_tokens = 9 WHERE job_id = 'job_1'",
    "not dense from 0 to 6: gaps before [5]": "DELETE FROM job_events WHERE sequence = 4",
    "not dense from 0 to 9": "UPDATE event_clock SET sequence = 9",
    "leads from PAUSED, but the job was QUEUED": "UPDATE job_events SET from_state = 'PAUSED' WHERE sequence = 3",
    "from FINALIZING to QUEUED, which no move does": "UPDATE job_events SET to_state = 'QUEUED' WHERE sequence = 4",
    "deletes it, but it was QUEUED": "UPDATE job_events SET to_state = NULL WHERE sequence = 6",
    "creates it as RUNNING": "UPDATE job_events SET to_state = 'RUNNING' WHERE sequence = 1",
    "to QUEUED tells nothing": "UPDATE job_events SET job = NULL WHERE sequence = 1",
    "tells of job_1 as PAUSED": 'UPDATE job_events SET job = job || \'{"state": "PAUSED"}\'',
    "tells counts that do not add up": "UPDATE job_events SET job = jsonb_set(job, '{counts,total}', '99')",
    "job_3 is gone, but its last event": "DELETE FROM jobs WHERE job_id = 'job_3'",
    "job_2 is PAUSED at sequence 2": "UPDATE jobs SET state = 'PAUSED' WHERE job_id = 'job_2'",
    "job_3 is at sequence 6, but has no event": "UPDATE job_events SET job_id = 'job_2' WHERE job_id = 'job_3'",
}


@pytest_asyncio.fixture
async def sound(stores: Stores) -> AsyncIterator[Stores]:
    """Yield a database with a job that has ended, its retry, one that runs, and half an upload."""
    await stores.leases.register_scheduler("s1", timedelta(minutes=5), exclusive=True)
    await stores.ready_dataset(4, 2)
    await stores.queued_job("job_1")
    await stores.queued_job("job_2")
    for number, failed in ((0, []), (1, [1])):
        await commit(stores, await claim(stores, "job_1", number), 4 * number, failed)
    await stores.jobs.move_job("job_1", JobEvent.ROWS_DONE)
    output, errors = (
        ResultFile(key=f"results/job_1/{name}.jsonl", row_count=rows, byte_count=100, sha256="0" * 64)
        for name, rows in (("output", 5), ("errors", 1))
    )
    await stores.results.finish_job("job_1", output, errors)
    await stores.jobs.retry_job("job_1", new_job_id="job_3", request_id=None)
    await stores.jobs.move_job("job_3", JobEvent.PAUSE)
    await claim(stores, "job_2", 1)
    await half_upload(stores)
    yield stores


async def half_upload(stores: Stores) -> None:
    await stores.datasets.create_dataset(NewDataset(dataset_id="ds_half", name="half"))
    epoch = await stores.datasets.begin_upload("ds_half", offset=0)
    for first_byte in (0, 10):
        part = UploadPart(first_byte=first_byte, byte_count=10, key=f"uploads/ds_half/{first_byte}-1")
        await stores.datasets.add_upload_part("ds_half", epoch, part)


async def claim(stores: Stores, job_id: str, number: int) -> LeasedChunk:
    (chunk,) = await stores.leases.claim_chunks("s1", job_id, ChunkKind.ROWS, f"adapter-{number}", 1)
    return chunk


async def commit(stores: Stores, chunk: LeasedChunk, lines_before: int, failed: list[int]) -> None:
    """Store results as a service would: answers that tell their tokens, and error lines."""
    job_id, rows = chunk.job_id.encode(), range(chunk.row_count)
    answered = [row for row in rows if row not in failed]
    texts = [success_line(job_id, lines_before + row + 1, b'"r"', ANSWER) for row in answered]
    segments = [segment([lines_before + row + 1 for row in answered], texts, error=False)]
    if failed:
        texts = [error_line(job_id, lines_before + row + 1, b'"r"', code="bad", message="") for row in failed]
        segments.append(segment([lines_before + row + 1 for row in failed], texts, error=True))
    results = ChunkResults(
        job_id=chunk.job_id, chunk_no=chunk.chunk_no, epoch=chunk.epoch, row_count=chunk.row_count,
        done=(1 << chunk.row_count) - 1, unsuccessful=sum(1 << row for row in failed),
        succeeded=len(answered), failed=len(failed), cancelled=0, expired=0, invalid=0,
        prompt_tokens=3 * len(answered), completion_tokens=2 * len(answered), errors=[], segments=segments,
    )  # fmt: skip
    receipt = await stores.leases.commit_results("s1", [results], [])
    assert receipt.accepted


def segment(lines: list[int], texts: list[bytes], *, error: bool) -> SegmentToStore:
    text = b"".join(texts)
    return SegmentToStore(
        error=error,
        row_count=len(lines),
        first_line=min(lines),
        last_line=max(lines),
        byte_count=len(text),
        blob=encode_segment(Segment(lines, text)),
    )


async def test_a_sound_database_has_no_problems(sound: Stores) -> None:
    await check_database(sound.database.dsn)


async def test_what_callers_deleted_is_no_problem(sound: Stores) -> None:
    await sound.jobs.delete_job("job_1")
    await check_database(sound.database.dsn)


@pytest.mark.parametrize("complaint", DAMAGES)
async def test_each_damage_is_named(sound: Stores, complaint: str) -> None:
    async with sound.database.connection() as connection:
        await connection.execute(f"SET session_replication_role = replica; {DAMAGES[complaint]}")
    problems = await database_problems(sound.database.dsn)
    assert any(complaint in problem for problem in problems), problems
