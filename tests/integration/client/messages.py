"""Messages of the contract, made short for scripts."""

import hashlib

from lorax_batch.v1 import batch_inference_pb2 as pb
from lorax_batch.v1 import job_pb2


def job(state: int = job_pb2.JOB_STATE_RUNNING, job_id: str = "job_1", **fields: object) -> job_pb2.Job:
    return job_pb2.Job(job_id=job_id, state=job_pb2.JobState.ValueType(state), **fields)  # type: ignore[arg-type]


def snapshot(sequence: int, state: int = job_pb2.JOB_STATE_QUEUED) -> pb.WatchJobsResponse:
    return pb.WatchJobsResponse(sequence=sequence, snapshot=job(state))


def heartbeat(sequence: int) -> pb.WatchJobsResponse:
    return pb.WatchJobsResponse(sequence=sequence, heartbeat=pb.Heartbeat())


def progress(sequence: int) -> pb.WatchJobsResponse:
    return pb.WatchJobsResponse(sequence=sequence, progress=job())


def change(sequence: int, state: int) -> pb.WatchJobsResponse:
    changed = pb.StateChange(to_state=job_pb2.JobState.ValueType(state), job=job(state))
    return pb.WatchJobsResponse(sequence=sequence, state_change=changed)


def rows(first: int, *lines: bytes, kind: int = pb.RESULT_KIND_OUTPUT) -> pb.StreamResultsResponse:
    return pb.StreamResultsResponse(
        rows=pb.ResultRows(
            lines=b"".join(line + b"\n" for line in lines),
            first_offset=first,
            row_count=len(lines),
            kind=pb.ResultKind.ValueType(kind),
        )
    )


def summary(*lines: bytes, sha256: str | None = None) -> pb.StreamResultsResponse:
    sent = b"".join(line + b"\n" for line in lines)
    digest = hashlib.sha256(sent).hexdigest() if sha256 is None else sha256
    return pb.StreamResultsResponse(summary=pb.ResultSummary(row_count=len(lines), sha256=digest))


def file_of(content: bytes) -> job_pb2.ResultFile:
    digest = hashlib.sha256(content).hexdigest()
    return job_pb2.ResultFile(row_count=content.count(b"\n"), byte_count=len(content), sha256=digest)


def part(content: bytes, begin: int, end: int, *, first: bool = False) -> pb.DownloadResultsResponse:
    message = pb.DownloadResultsResponse(data=content[begin:end], offset=begin)
    if first:
        message.file.CopyFrom(file_of(content))
    return message
