"""What a watch tells, as messages of the contract."""

from datetime import datetime

from lorax_batch.v1 import batch_inference_pb2 as pb

from lorax_batch_server.timestamps import timestamp
from lorax_batch_server.translate_job import JobTranslator
from lorax_batch_server.watcher import Deleted, Happening, Heartbeat, Progress, Snapshot, StateChanged


def watch_response(happening: Happening, translator: JobTranslator, *, now: datetime) -> pb.WatchJobsResponse:
    """Return the message."""
    sequence = happening.sequence
    match happening:
        case Snapshot(job=job):
            return pb.WatchJobsResponse(sequence=sequence, snapshot=translator.job(job, now=now))
        case StateChanged(change=change):
            return pb.WatchJobsResponse(sequence=sequence, state_change=translator.state_change(change, now=now))
        case Progress(job=job):
            return pb.WatchJobsResponse(sequence=sequence, progress=translator.job(job, now=now))
        case Deleted(job_id=job_id):
            return pb.WatchJobsResponse(sequence=sequence, deleted=job_id)
        case Heartbeat():
            return pb.WatchJobsResponse(sequence=sequence, heartbeat=pb.Heartbeat(time=timestamp(now)))
