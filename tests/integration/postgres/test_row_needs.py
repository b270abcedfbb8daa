"""What rows need of a server: read once for each job, and kept right as slots come and go."""

from lorax_batch_scheduler.clock import SystemClock
from lorax_batch_scheduler.fleet import Slot
from lorax_batch_scheduler.scheduling.job_book import JobBook
from lorax_batch_scheduler.scheduling.job_reader import JobReader
from lorax_batch_scheduler.scheduling.row_needs import RowNeeds

from tests.integration.postgres.conftest import Stores
from tests.unit.launching.examples import GIB, MISTRAL


def slot(gib: int, kind: str = "command") -> Slot:
    return Slot(slot_id=f"{kind}-{gib}", kind=kind, memory_bytes=gib * GIB)


async def test_needs_are_known_before_rows_are_given_and_follow_the_slots(stores: Stores) -> None:
    await stores.ready_dataset(5, 12)
    job = await stores.queued_job(default_max_tokens=500)
    slots = [slot(80), slot(0, "static")]
    book = JobBook()
    reader = JobReader(
        jobs=stores.jobs,
        leases=stores.leases,
        book=book,
        clock=SystemClock(),
        scheduler_id=lambda: "scheduler_1",
        on_stopped=lambda job_id: None,
        refresh_needs=RowNeeds(lambda: slots, lambda name: MISTRAL).refresh,
    )
    await reader.read_jobs()
    await reader.read_left()
    (waiting,) = book.waiting_jobs(0.0)
    assert waiting.job_id == job.job_id
    assert (waiting.row_tokens, waiting.prompt_tokens) == (2 * 20 + 256 + 500, 2 * 20 + 256)
    (known,) = book.runnable
    assert known.need is not None
    assert known.need.memory_bytes == 80 * GIB
    slots.insert(0, slot(24))
    await reader.read_left()
    assert known.need.memory_bytes == 24 * GIB
    del slots[:2]
    await reader.read_left()
    assert known.need is None, "fixed servers take what they take"
