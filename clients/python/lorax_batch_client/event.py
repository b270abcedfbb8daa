"""What a watch tells about jobs."""

from dataclasses import dataclass
from datetime import datetime

from lorax_batch.v1 import batch_inference_pb2

from lorax_batch_client.job import Job, JobState
from lorax_batch_client.timestamps import datetime_from


@dataclass(frozen=True, slots=True, kw_only=True)
class JobSnapshot:
    """The job as it is when the watch begins, or begins anew.

    It does so after too long an interruption, or one before every job was shown.
    """

    sequence: int
    job: Job


@dataclass(frozen=True, slots=True, kw_only=True)
class JobStateChanged:
    """A change of state; each comes exactly once and in order."""

    sequence: int
    job: Job
    """Right after the change."""
    from_state: JobState
    to_state: JobState
    reason: str
    time: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class JobProgressed:
    """New counts in the same state; for slow readers only the newest ones."""

    sequence: int
    job: Job


@dataclass(frozen=True, slots=True, kw_only=True)
class JobDeleted:
    """The job is gone."""

    sequence: int
    job_id: str


JobEvent = JobSnapshot | JobStateChanged | JobProgressed | JobDeleted


def event_from_proto(message: batch_inference_pb2.WatchJobsResponse) -> JobEvent | None:
    """Return the event of a message; None for a heartbeat or a kind that this client does not know."""
    kind, sequence = message.WhichOneof("event"), message.sequence
    if kind == "snapshot":
        return JobSnapshot(sequence=sequence, job=Job.from_proto(message.snapshot))
    if kind == "progress":
        return JobProgressed(sequence=sequence, job=Job.from_proto(message.progress))
    if kind == "deleted":
        return JobDeleted(sequence=sequence, job_id=message.deleted)
    if kind == "state_change":
        change = message.state_change
        return JobStateChanged(
            sequence=sequence,
            job=Job.from_proto(change.job),
            from_state=JobState.from_proto(change.from_state),
            to_state=JobState.from_proto(change.to_state),
            reason=change.reason,
            time=datetime_from(change.time),
        )
    return None
