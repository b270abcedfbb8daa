"""From what a caller says to the messages of the contract, for both flavours of the client."""

import uuid
from collections.abc import Mapping
from datetime import datetime, timedelta

from google.protobuf.field_mask_pb2 import FieldMask
from lorax_batch.v1 import batch_inference_pb2, job_pb2

from lorax_batch_client.dataset import Dataset
from lorax_batch_client.job import Job
from lorax_batch_client.server_config import ServerConfig
from lorax_batch_client.timestamps import timestamp_from
from lorax_batch_client.watch_cursor import job_id_of


def make_request_id() -> str:
    """Return an id that makes a call idempotent, so that it can be sent again after a broken connection."""
    return uuid.uuid4().hex


def dataset_ref(dataset: Dataset | str) -> str:
    """Return the reference of a dataset that is given by value, id or name."""
    return dataset if isinstance(dataset, str) else dataset.dataset_id


def create_job_request(
    dataset: Dataset | str,
    server_config: ServerConfig,
    *,
    priority: int,
    deadline: datetime | timedelta | None,
    labels: Mapping[str, str] | None,
    request_id: str,
    validate_only: bool,
    error_threshold: float,
    default_max_tokens: int,
) -> batch_inference_pb2.CreateJobRequest:
    """Return the request for a new job."""
    return batch_inference_pb2.CreateJobRequest(
        dataset=dataset_ref(dataset),
        server_config=server_config.to_proto(),
        priority=priority,
        deadline=None if deadline is None else timestamp_from(deadline),
        labels=labels or {},
        request_id=request_id or make_request_id(),
        validate_only=validate_only,
        error_threshold=error_threshold,
        default_max_tokens=default_max_tokens,
    )


def update_job_request(
    job: Job | str,
    *,
    priority: int | None,
    deadline: datetime | timedelta | None,
    labels: Mapping[str, str] | None,
    clear_deadline: bool,
) -> batch_inference_pb2.UpdateJobRequest:
    """Return the request that changes only what is given."""
    changed = job_pb2.Job(job_id=job_id_of(job))
    paths = []
    if priority is not None:
        changed.priority = priority
        paths.append("priority")
    if deadline is not None:
        changed.deadline.CopyFrom(timestamp_from(deadline))
    if deadline is not None or clear_deadline:
        paths.append("deadline")
    if labels is not None:
        changed.labels.update(labels)
        paths.append("labels")
    if not paths:
        raise ValueError("nothing to change: give a priority, a deadline or labels")
    return batch_inference_pb2.UpdateJobRequest(job=changed, update_mask=FieldMask(paths=paths))
