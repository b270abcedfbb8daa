"""When the lease of a chunk goes back whose parts several servers have."""

from datetime import UTC, datetime

from lorax_batch_scheduler.clock import SystemClock
from lorax_batch_scheduler.job import Job, JobState
from lorax_batch_scheduler.ports.lease import LeasedChunk
from lorax_batch_scheduler.scheduling.fleet import Fleet
from lorax_batch_scheduler.scheduling.handover import Handover
from lorax_batch_scheduler.scheduling.job_book import JobBook, KnownJob
from lorax_batch_scheduler.server_config import ServerConfig
from lorax_batch_scheduler.work import ChunkWork

from tests.rows import make_work

NOW = datetime(2026, 1, 1, tzinfo=UTC)


class Parts:
    """A chunk of ten rows of which a server has six and another four; no server takes what comes back."""

    def __init__(self) -> None:
        book = JobBook()
        book.update(
            [
                Job(
                    job_id="job", dataset_id="d", server_config=ServerConfig(base_model="m"), base_model_id="m",
                    state=JobState.RUNNING, create_time=NOW, update_time=NOW,
                )
            ],
            0.0,
        )  # fmt: skip
        known = book.get("job")
        assert known is not None
        self.known: KnownJob = known
        self.released: list[LeasedChunk] = []
        fleet = Fleet.empty(SystemClock())
        self.handover = Handover(book=book, fleet=lambda: fleet, release=self.released.append)
        self.begun = make_work(10)
        self.begun.server_id = "begun"
        self.part = self.begun.split_off([self.begun.waiting.pop() for _ in range(4)])
        self.part.server_id = "idle"
        for work in (self.begun, self.part):
            known.give_out(work)

    def come_back(self, *works: ChunkWork) -> None:
        for work in works:
            self.handover.returned(work)
        self.handover.give_on()


def test_rows_are_of_one_part_each() -> None:
    parts = Parts()
    assert (parts.begun.rows & 0b1111111111, parts.part.rows) == (0b0000111111, 0b1111000000)
    assert not parts.begun.is_over
    parts.begun.lease.done = 0b0000111111
    assert parts.begun.is_over
    assert not parts.part.is_over


def test_the_lease_goes_back_once_when_no_server_is_at_work_on_the_chunk() -> None:
    parts = Parts()
    parts.come_back(parts.part)
    assert parts.released == []
    assert not parts.known.nothing_out.is_set()
    parts.come_back(parts.begun)
    assert parts.released == [parts.begun.lease]
    assert parts.known.nothing_out.is_set()
    parts.come_back()
    assert parts.released == [parts.begun.lease]


def test_a_part_that_is_over_needs_the_lease_no_more() -> None:
    parts = Parts()
    parts.come_back(parts.part)
    parts.begun.lease.done = 0b0000111111
    parts.come_back()
    assert parts.released == [parts.part.lease]


def test_a_chunk_that_was_lost_meanwhile_is_nobodys() -> None:
    parts = Parts()
    parts.come_back(parts.part)
    assert set(parts.known.take_back(0)) == {parts.begun, parts.part}
    parts.come_back()
    assert parts.released == [], "whoever lost it has given it back"
