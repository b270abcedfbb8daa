"""The place in a watch."""

from collections.abc import Iterable

from lorax_batch.v1.batch_inference_pb2 import WatchJobsRequest, WatchJobsResponse

from lorax_batch_client.errors import ClientError, SequenceTooOldError
from lorax_batch_client.event import JobEvent, event_from_proto
from lorax_batch_client.job import Job
from lorax_batch_client.job_filter import JobFilter

WatchTarget = Job | str | Iterable[Job | str] | JobFilter | None
"""What to watch: a job or several, by value or id; the jobs that a filter selects; None: all jobs."""


class WatchCursor:
    """Goes on behind the last sequence; begins anew from a snapshot when that is too old, or was not complete."""

    def __init__(self, target: WatchTarget, after_sequence: int | None) -> None:
        self._job_ids, self._filter = _select(target)
        self._sequence = after_sequence
        self._in_snapshot = after_sequence is None
        self._not_shown: set[str] = set()
        """Named jobs whose snapshot is still to come."""
        self._shown: dict[str, int] = {}
        """Jobs that had moved on behind the sequence of their snapshot: their moves up to this one are in it."""

    @property
    def is_complete(self) -> bool:
        # A watch of named jobs ends when they have ended; any other ends only because the service went away.
        return bool(self._job_ids)

    def request(self) -> WatchJobsRequest:
        request = WatchJobsRequest(job_ids=self._job_ids, after_sequence=self._sequence)
        if self._filter is not None:
            request.filter.CopyFrom(self._filter.to_proto())
        self._in_snapshot = self._sequence is None
        self._not_shown = set(self._job_ids)
        return request

    def take(self, message: WatchJobsResponse) -> Iterable[JobEvent]:
        kind = message.WhichOneof("event")
        if kind == "snapshot":
            self._note_shown(message)
        elif kind == "heartbeat":
            # The first one closes the snapshot: only from here on the sequence is good for going on.
            self._in_snapshot = False
        is_old = kind == "state_change" and self._is_old(message)
        if not self._in_snapshot:
            self._sequence = max(self._sequence or 0, message.sequence)
        event = None if is_old else event_from_proto(message)
        return () if event is None else (event,)

    def recover(self, error: ClientError) -> bool:
        if isinstance(error, SequenceTooOldError) and self._sequence is not None:
            self._sequence = None
            return True
        return False

    def _note_shown(self, message: WatchJobsResponse) -> None:
        job = message.snapshot
        if job.sequence > message.sequence:
            self._shown[job.job_id] = job.sequence
        self._not_shown.discard(job.job_id)
        if self._job_ids and not self._not_shown:
            # Nothing but the heartbeat is missing: with it would be lost that the caller has seen all of them.
            self._in_snapshot = False

    def _is_old(self, message: WatchJobsResponse) -> bool:
        if message.sequence <= self._shown.get(message.state_change.job.job_id, 0):
            return True
        return not self._in_snapshot and self._sequence is not None and message.sequence <= self._sequence


def _select(target: WatchTarget) -> tuple[list[str], JobFilter | None]:
    if target is None or isinstance(target, JobFilter):
        return [], target
    if isinstance(target, Job | str):
        return [job_id_of(target)], None
    job_ids = [job_id_of(one) for one in target]
    if not job_ids:
        raise ValueError("no jobs to watch: give at least one job, a filter, or None for all jobs")
    return job_ids, None


def job_id_of(job: Job | str) -> str:
    """Return the id of a job that is given by value or by id."""
    return job if isinstance(job, str) else job.job_id
