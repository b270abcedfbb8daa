"""One job as its watch tells it, every event checked."""

from collections.abc import Callable, Iterator
from typing import Any

from lorax_batch_client import (
    Client,
    Counts,
    Job,
    JobDeleted,
    JobEvent,
    JobSnapshot,
    JobState,
    JobStateChanged,
)

from tests.end_to_end.rows import Row

MODEL = "mistral-7b-instruct-v0-2"
"""What the simulators serve unless told otherwise."""
PARTS = ("pending", "in_flight", "retrying", "succeeded", "failed", "cancelled", "expired", "invalid")


class WatchCheck:
    """What must hold of every watch of one job: nothing is missing, repeated or out of order, and all counts add up."""

    def __init__(self) -> None:
        self.job: Job | None = None
        self.states: list[JobState] = []
        self.sequence = 0

    def take(self, event: JobEvent) -> Job:
        """Check the next event and return its job."""
        assert not isinstance(event, JobDeleted), event
        job, before = event.job, self.job
        check_counts(job.counts)
        if before is None:
            assert isinstance(event, JobSnapshot) or self.sequence, "a watch begins with a snapshot"
        else:
            assert not before.is_terminal, f"{event} behind the end"
            assert not isinstance(event, JobSnapshot), "a second snapshot"
            assert job.counts.ended >= before.counts.ended, "rows that had ended are gone"
        if isinstance(event, JobStateChanged):
            assert event.sequence > self.sequence, "a repeated state change"
            assert event.to_state is job.state
            if before is not None:
                assert event.from_state is before.state, f"between {before.state} and {event} a state change is missing"
        elif before is not None:
            assert job.state is before.state, "a state came without its state change"
        if not self.states or self.states[-1] is not job.state:
            self.states.append(job.state)
        self.job, self.sequence = job, max(self.sequence, event.sequence)
        return job


def check_counts(counts: Counts) -> None:
    """Check that every row is counted exactly once."""
    parts = {name: getattr(counts, name) for name in PARTS}
    assert min(parts.values()) >= 0, parts
    assert counts.total == sum(parts.values()), counts


class JobStory:
    """Reads a job's watch as far as a test wants."""

    def __init__(self, client: Client, job: Job | str) -> None:
        self.job_id = job if isinstance(job, str) else job.job_id
        self.check = WatchCheck()
        self._events: Iterator[JobEvent] = client.watch(job)

    def until(self, holds: Callable[[Job], bool]) -> Job:
        """Return the job as soon as that holds; it must hold before the job has ended."""
        job = self.check.job
        while job is None or not holds(job):
            event = next(self._events, None)
            assert event is not None, f"it never came to that: {self.check.states}, {self.check.job}"
            job = self.check.take(event)
        return job

    def until_ended_rows(self, count: int) -> Job:
        """Return the job when so many rows have their result."""
        return self.until(lambda job: job.counts.ended >= count)

    def finish(self) -> Job:
        """Return the job when it has ended; nothing may come behind that."""
        for event in self._events:
            self.check.take(event)
        job = self.check.job
        assert job is not None
        assert job.is_terminal, job
        assert job.counts.ended == job.counts.total
        return job


def submit(client: Client, rows: list[Row], *, base_model: str = MODEL, **fields: Any) -> JobStory:
    """Upload rows, create their job as soon as they are checked, and watch it."""
    dataset = client.wait_for_dataset(client.upload_dataset(rows))
    return JobStory(client, client.create_job(dataset, base_model=base_model, **fields))
