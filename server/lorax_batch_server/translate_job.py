"""Jobs as messages of the contract."""

from datetime import datetime, timedelta
from typing import Final

from lorax_batch.v1 import batch_inference_pb2 as pb
from lorax_batch.v1 import job_pb2
from lorax_batch_scheduler.job import (
    RUNNABLE_STATES,
    AdmissionAnswer,
    Counts,
    Job,
    JobState,
    ResultFile,
    RowError,
    StateChange,
)
from lorax_batch_scheduler.retention import KEEP_ALL, RetentionPolicy
from lorax_batch_scheduler.server_config import ServerConfig

from lorax_batch_server.timestamps import timestamp

STATE_NUMBERS: Final[dict[JobState, job_pb2.JobState.ValueType]] = {
    state: job_pb2.JobState.Value(f"JOB_STATE_{state.value}") for state in JobState
}
ADMISSION_NUMBERS: Final[dict[AdmissionAnswer, job_pb2.JobAdmission.ValueType]] = {
    answer: job_pb2.JobAdmission.Value(f"JOB_ADMISSION_{answer.value}") for answer in AdmissionAnswer
}
STATES_BY_NUMBER: Final = {number: state for state, number in STATE_NUMBERS.items()}
MAX_ETA: Final = timedelta(days=3650)
"""A rate that rows trickle at says nothing about a later end."""


class JobTranslator:
    """Turns jobs into messages; knows what the scheduler's job does not: the currency, and how long jobs are kept."""

    def __init__(self, currency: str, retention: RetentionPolicy = KEEP_ALL) -> None:
        self._currency = currency
        self._retention = retention

    def job(self, job: Job, *, now: datetime, with_errors: bool = True) -> job_pb2.Job:
        """Return the message; `with_errors` off leaves the row errors out, as lists do."""
        message = job_pb2.Job(
            job_id=job.job_id,
            dataset_id=job.dataset_id,
            server_config=server_config_message(job.server_config),
            base_model_id=job.base_model_id,
            state=STATE_NUMBERS[job.state],
            reason=job.reason,
            counts=counts_message(job.counts),
            usage=job_pb2.Usage(
                prompt_tokens=job.prompt_tokens,
                completion_tokens=job.completion_tokens,
                total_tokens=job.prompt_tokens + job.completion_tokens,
            ),
            cost=job_pb2.Cost(currency=self._currency, micros=job.cost_micros),
            progress=_progress(job, now),
            priority=job.priority,
            deadline=timestamp(job.deadline),
            labels=job.labels,
            retry_of=job.retry_of or "",
            create_time=timestamp(job.create_time),
            start_time=timestamp(job.start_time),
            end_time=timestamp(job.end_time),
            expire_time=timestamp(self._retention.job_expires(job)),
            update_time=timestamp(job.update_time),
            error_threshold=job.error_threshold,
            default_max_tokens=job.default_max_tokens,
            queue_position=job.queue_position,
            sequence=job.sequence,
            admission=ADMISSION_NUMBERS[job.admission] if job.admission else job_pb2.JOB_ADMISSION_UNSPECIFIED,
            admission_reason=job.admission_reason,
            earliest_finish_time=timestamp(job.earliest_finish_time),
            tenant=job.tenant,
        )
        if with_errors:
            message.errors.extend(_row_error(error) for error in job.errors)
        if job.state.terminal:
            message.output_file.CopyFrom(file_message(job.output_file))
            message.error_file.CopyFrom(file_message(job.error_file))
        return message

    def state_change(self, change: StateChange, *, now: datetime) -> pb.StateChange:
        """Return the message for one stored move; deletions have a message of their own."""
        return pb.StateChange(
            from_state=state_number(change.from_state),
            to_state=state_number(change.to_state),
            reason=change.reason,
            time=timestamp(change.time),
            job=self.job(change.job, now=now) if change.job is not None else None,
        )


def state_number(state: JobState | None) -> job_pb2.JobState.ValueType:
    """Return the contract's number; UNSPECIFIED for none."""
    return job_pb2.JOB_STATE_UNSPECIFIED if state is None else STATE_NUMBERS[state]


def server_config_message(config: ServerConfig) -> job_pb2.ServerConfig:
    """Return the message of a configuration, which never holds the token."""
    return job_pb2.ServerConfig(
        base_model=config.base_model,
        lorax_image_tag=config.lorax_image_tag,
        quantization=config.quantization,
        custom_args=config.custom_args,
        backend=config.backend,
        adapter_source=config.adapter_source,
    )


def counts_message(counts: Counts) -> job_pb2.Counts:
    """Return the message."""
    return job_pb2.Counts(
        total=counts.total,
        pending=counts.pending,
        in_flight=counts.in_flight,
        retrying=counts.retrying,
        succeeded=counts.succeeded,
        failed=counts.failed,
        cancelled=counts.cancelled,
        expired=counts.expired,
        invalid=counts.invalid,
    )


def file_message(file: ResultFile | None) -> job_pb2.ResultFile:
    """Return the message; the storage key stays inside."""
    if file is None:
        return job_pb2.ResultFile()
    return job_pb2.ResultFile(row_count=file.row_count, byte_count=file.byte_count, sha256=file.sha256)


def _row_error(error: RowError) -> job_pb2.RowError:
    return job_pb2.RowError(line=error.line, custom_id=error.custom_id, code=error.code, message=error.message)


def _progress(job: Job, now: datetime) -> job_pb2.Progress | None:
    counts = job.counts
    if not counts.total:
        return None
    message = job_pb2.Progress(
        fraction=counts.ended / counts.total,
        rows_per_second=job.rows_per_second,
        tokens_per_second=job.tokens_per_second,
    )
    _foretell(message, job, now)
    return message


def _foretell(message: job_pb2.Progress, job: Job, now: datetime) -> None:
    """Say when it should end: as the planner foretold, else by the present rate."""
    left = job.counts.total - job.counts.ended
    if job.state in RUNNABLE_STATES and left and job.eta is not None and job.eta > now:
        remaining = job.eta - now
        for field, time in ((message.eta_early, job.eta_early), (message.eta_late, job.eta_late)):
            if time is not None:
                field.FromDatetime(max(time, now))
    elif job.state is JobState.RUNNING and left and job.rows_per_second * MAX_ETA.total_seconds() > left:
        remaining = timedelta(seconds=left / job.rows_per_second)
    else:
        return
    message.remaining.FromTimedelta(remaining)
    message.eta.FromDatetime(now + remaining)
