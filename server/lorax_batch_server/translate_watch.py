"""What a watch tells, as messages of the contract."""

from datetime import datetime

from lorax_batch.v1 import batch_inference_pb2 as pb
from lorax_batch.v1 import job_pb2
from lorax_batch_scheduler.job import Job, StateChange

from lorax_batch_server.shared_messages import SharedMessages
from lorax_batch_server.timestamps import timestamp
from lorax_batch_server.translate_job import JobTranslator
from lorax_batch_server.watcher import Deleted, Happening, Heartbeat, Progress, Snapshot, StateChanged


class WatchTranslator:
    """Turns what happens into messages: those that all watchers are told are made once."""

    def __init__(self, translator: JobTranslator) -> None:
        self._translator = translator
        self._jobs = SharedMessages()
        self._changes = SharedMessages()

    def response(self, happening: Happening, *, now: datetime) -> pb.WatchJobsResponse:
        """Return the message."""

        def message(job: Job) -> job_pb2.Job:
            return self._translator.job(job, now=now)

        def state_change(change: StateChange) -> pb.StateChange:
            return self._translator.state_change(change, now=now)

        sequence = happening.sequence
        match happening:
            case Snapshot(job=job):
                return pb.WatchJobsResponse(sequence=sequence, snapshot=self._jobs.of(job, message))
            case StateChanged(change=change):
                return pb.WatchJobsResponse(sequence=sequence, state_change=self._changes.of(change, state_change))
            case Progress(job=job):
                return pb.WatchJobsResponse(sequence=sequence, progress=self._jobs.of(job, message))
            case Deleted(job_id=job_id):
                return pb.WatchJobsResponse(sequence=sequence, deleted=job_id)
            case Heartbeat():
                return pb.WatchJobsResponse(sequence=sequence, heartbeat=pb.Heartbeat(time=timestamp(now)))
