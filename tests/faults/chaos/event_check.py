"""What must hold of every watch, over all its connections: no gap, no repeat, nothing behind an end."""

from lorax_batch_client import (
    Job,
    JobDeleted,
    JobEvent,
    JobProgressed,
    JobSnapshot,
    JobState,
    JobStateChanged,
)

from tests.end_to_end.job_story import PARTS
from tests.faults.chaos.findings import Findings


class EventCheck:
    """Checks the events of one watch; of all jobs (`complete`) their sequences are dense, too.

    What a caller knows already it must be told again only in snapshots, which begin a watch anew.
    """

    def __init__(self, name: str, findings: Findings, *, complete: bool) -> None:
        self._name = name
        self._findings = findings
        self._complete = complete
        self._jobs: dict[str, Job] = {}
        self._deleted: set[str] = set()
        self.sequence = 0
        self.following = False
        """Whether the snapshot is behind us."""
        self.event_count = 0

    def job(self, job_id: str) -> Job | None:
        """Return the job as it was told last."""
        return self._jobs.get(job_id)

    def take_heartbeat(self, sequence: int) -> None:
        """Check a heartbeat; the first one closes the snapshot."""
        if self.following and sequence != self.sequence and self._complete:
            self._add(f"a heartbeat with sequence {sequence}, but the last change was {self.sequence}")
        self.sequence = max(self.sequence, sequence)
        self.following = True

    def take(self, event: JobEvent) -> None:
        """Check the next event."""
        self.event_count += 1
        self._check_sequence(event)
        if isinstance(event, JobDeleted):
            before = self._jobs.pop(event.job_id, None)
            if before is not None and not before.is_terminal:
                self._add(f"{event.job_id} was deleted while {before.state.name}")
            self._deleted.add(event.job_id)
            return
        if event.job.job_id in self._deleted:
            self._add(f"{event.job.job_id} was deleted, and then: {_told(event)}")
        before = self._jobs.get(event.job.job_id)
        self._check_counts(event.job)
        if before is not None:
            self._check_step(before, event)
        self._jobs[event.job.job_id] = event.job

    def _add(self, text: str) -> None:
        self._findings.add(f"watch {self._name}: {text}")

    def _check_sequence(self, event: JobEvent) -> None:
        if isinstance(event, JobStateChanged | JobDeleted):
            if event.sequence <= self.sequence:
                self._add(f"a repeated change: sequence {event.sequence} behind {self.sequence}: {_told(event)}")
            elif self._complete and self.following and event.sequence != self.sequence + 1:
                self._add(f"a gap: sequence {event.sequence} behind {self.sequence}: {_told(event)}")
            self.sequence = max(self.sequence, event.sequence)
        elif isinstance(event, JobProgressed) and event.sequence < self.sequence:
            self._add(f"progress goes back to sequence {event.sequence} from {self.sequence}")

    def _check_counts(self, job: Job) -> None:
        parts = {name: getattr(job.counts, name) for name in PARTS}
        if min(parts.values()) < 0 or job.counts.total != sum(parts.values()):
            self._add(f"{job.job_id}: the counts do not add up: {job.counts}")

    def _check_step(self, before: Job, event: JobEvent) -> None:
        assert not isinstance(event, JobDeleted)
        job = event.job
        if before.is_terminal and not isinstance(event, JobSnapshot):
            self._add(f"{job.job_id} had ended as {before.state.name}, and then: {_told(event)}")
        if before.is_terminal and (job.state, job.counts) != (before.state, before.counts):
            self._add(f"{job.job_id} changed after its end: {before.state.name} {before.counts} to {_told(event)}")
        if job.counts.ended < before.counts.ended:
            self._add(f"{job.job_id}: rows that had ended are gone: {before.counts} to {job.counts}")
        if isinstance(event, JobStateChanged):
            if event.from_state is not before.state:
                self._add(f"{job.job_id}: a change is missing between {before.state.name} and {_told(event)}")
        elif isinstance(event, JobProgressed) and job.state is not before.state:
            self._add(f"{job.job_id}: {job.state.name} came without its change, behind {before.state.name}")


def _told(event: JobEvent) -> str:
    if isinstance(event, JobDeleted):
        return f"deletion of {event.job_id}"
    states = (
        f"{event.from_state.name} to {event.to_state.name}"
        if isinstance(event, JobStateChanged)
        else JobState(event.job.state).name
    )
    return f"{type(event).__name__} of {event.job.job_id}, {states}, {event.job.counts}"
