"""What is signed and sent."""

from datetime import UTC, datetime

import msgspec
from lorax_batch_scheduler.job import Counts, Job, JobState, ResultFile, StateChange
from lorax_batch_scheduler.server_config import ServerConfig
from lorax_batch_scheduler.webhooks.payload import EVENT_TYPES, change_body, event_type
from lorax_batch_scheduler.webhooks.signature import new_secret, signed_headers
from standardwebhooks import Webhook

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)


def succeeded() -> StateChange:
    job = Job(
        job_id="job_1",
        dataset_id="ds_1",
        server_config=ServerConfig(base_model="mistral-7b"),
        base_model_id="mistral-7b",
        state=JobState.SUCCEEDED,
        create_time=NOW,
        update_time=NOW,
        end_time=NOW,
        labels={"team": "search"},
        counts=Counts(total=3, succeeded=2, failed=1),
        prompt_tokens=900_000,
        completion_tokens=100_001,
        price_micros_per_million=500_000,
        output_file=ResultFile(key="jobs/job_1/secret-key", row_count=2, byte_count=20, sha256="ab"),
        error_file=ResultFile(key="jobs/job_1/secret-key", row_count=1, byte_count=10, sha256="cd"),
    )
    return StateChange(
        sequence=9,
        job_id="job_1",
        from_state=JobState.FINALIZING,
        to_state=JobState.SUCCEEDED,
        reason="",
        time=NOW,
        job=job,
    )


def test_an_ended_job_is_told_with_its_cost_and_where_its_files_are() -> None:
    told = msgspec.json.decode(change_body(succeeded(), "EUR"))
    data = told["data"]
    assert (told["type"], told["timestamp"]) == ("job.succeeded", "2026-01-01T12:00:00Z")
    assert data["usage"]["total_tokens"] == 1_000_001
    assert data["cost"] == {"currency": "EUR", "micros": 500_001}
    assert (data["counts"]["succeeded"], data["labels"], data["sequence"]) == (2, {"team": "search"}, 9)
    assert data["links"]["error_file"] == {
        "method": "lorax_batch.v1.BatchInference/DownloadResults",
        "request": {"job_id": "job_1", "kind": "RESULT_KIND_ERROR"},
        "row_count": 1,
        "byte_count": 10,
        "sha256": "cd",
    }
    assert b"secret-key" not in change_body(succeeded(), "EUR")


def test_a_deletion_has_a_type_of_its_own() -> None:
    gone = StateChange(
        sequence=9, job_id="job_1", from_state=JobState.FAILED, to_state=None, reason="deleted", time=NOW, job=None
    )
    told = msgspec.json.decode(change_body(gone, "USD"))
    assert (told["type"], told["data"]["state"], told["data"]["links"]) == ("job.deleted", "DELETED", {})


def test_every_state_has_a_type() -> None:
    assert event_type(succeeded()) in EVENT_TYPES
    assert len(EVENT_TYPES) == len(JobState) + 1


def test_each_secret_verifies_a_body_that_both_have_signed() -> None:
    old, new = new_secret(), new_secret()
    body = change_body(succeeded(), "USD")
    headers = signed_headers([new, old], "msg_1", datetime.now(UTC), body)
    assert [Webhook(secret).verify(body, headers)["type"] for secret in (old, new)] == ["job.succeeded"] * 2
