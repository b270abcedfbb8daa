"""What a message says; docs/webhooks.md is its description for receivers."""

from datetime import datetime
from typing import Any, Final

import msgspec

from lorax_batch_scheduler.job import Job, JobState, StateChange

TEST_TYPE: Final = "webhook.test"
DELETED: Final = "DELETED"
EVENT_TYPES: Final = (*(f"job.{state.value.lower()}" for state in JobState), "job.deleted")
"""Those that a webhook may ask for."""
_SERVICE: Final = "lorax_batch.v1.BatchInference"


def event_type(change: StateChange) -> str:
    """Return the type of the message that tells a state change."""
    return f"job.{(change.to_state or DELETED).lower()}"


def change_body(change: StateChange, currency: str) -> bytes:
    """Return the body that tells a state change; always the same one for the same change."""
    data: dict[str, Any] = {
        "id": change.job_id,
        "state": change.to_state or DELETED,
        "previous_state": change.from_state,
        "reason": change.reason,
        "sequence": change.sequence,
    }
    if change.job is not None:
        data |= _job_fields(change.job, currency)
    data["links"] = _links(change.job_id, change.job)
    return _body(event_type(change), change.time, data)


def trial_body(webhook_id: str, time: datetime) -> bytes:
    """Return the body of a message that only tries a URL."""
    return _body(TEST_TYPE, time, {"webhook_id": webhook_id})


def _body(kind: str, time: datetime, data: dict[str, Any]) -> bytes:
    return msgspec.json.encode({"type": kind, "timestamp": time, "data": data})


def _job_fields(job: Job, currency: str) -> dict[str, Any]:
    return {
        "dataset_id": job.dataset_id,
        "base_model_id": job.base_model_id,
        "labels": job.labels,
        "retry_of": job.retry_of,
        "counts": job.counts,
        "usage": {
            "prompt_tokens": job.prompt_tokens,
            "completion_tokens": job.completion_tokens,
            "total_tokens": job.prompt_tokens + job.completion_tokens,
        },
        "cost": {"currency": currency, "micros": job.cost_micros},
        "create_time": job.create_time,
        "start_time": job.start_time,
        "end_time": job.end_time,
    }


def _links(job_id: str, job: Job | None) -> dict[str, Any]:
    """Return which calls tell more: the service speaks gRPC, where a link is a method and its request."""
    if job is None:
        return {}
    links: dict[str, Any] = {"job": {"method": f"{_SERVICE}/GetJob", "request": {"job_id": job_id}}}
    for name, kind, file in (("output_file", "OUTPUT", job.output_file), ("error_file", "ERROR", job.error_file)):
        if job.state.terminal and file is not None:
            links[name] = {
                "method": f"{_SERVICE}/DownloadResults",
                "request": {"job_id": job_id, "kind": f"RESULT_KIND_{kind}"},
                "row_count": file.row_count,
                "byte_count": file.byte_count,
                "sha256": file.sha256,
            }
    return links
