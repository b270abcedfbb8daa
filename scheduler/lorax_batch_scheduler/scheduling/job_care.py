"""Which move a job is due for, seen from its counts and the time; pure."""

from datetime import datetime

from lorax_batch_scheduler.job import Job, JobEvent, JobState

_LIVE = frozenset({JobState.QUEUED, JobState.STARTING, JobState.RUNNING, JobState.PAUSED})


def due_move(job: Job, now: datetime) -> tuple[JobEvent, str] | None:
    """Return the event that is due for a job, with its reason; None while there is none."""
    if job.state is JobState.VALIDATING:
        return _expiry(job, now)
    if job.state not in _LIVE:
        return None
    if job.counts.ended >= job.counts.total:
        return JobEvent.ROWS_DONE, ""
    if job.error_threshold and job.counts.failed > job.error_threshold * job.counts.total:
        share = f"{job.counts.failed} of {job.counts.total} rows failed"
        return JobEvent.ABORT, f"{share}, more than the error threshold of {job.error_threshold:.2%}"
    return _expiry(job, now)


def _expiry(job: Job, now: datetime) -> tuple[JobEvent, str] | None:
    if job.deadline is None or job.deadline > now:
        return None
    left = job.counts.total - job.counts.ended
    return JobEvent.EXPIRE, f"the deadline {job.deadline.isoformat(timespec='seconds')} passed with {left} rows to go"
