"""Jobs as messages."""

from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from lorax_batch.v1 import job_pb2
from lorax_batch_client import Job as ClientJob
from lorax_batch_client import JobAdmission
from lorax_batch_scheduler.job import AdmissionAnswer, Counts, Job, JobState, ResultFile, RowError
from lorax_batch_scheduler.server_config import ServerConfig
from lorax_batch_server.translate_job import JobTranslator

NOW = datetime(2026, 1, 1, tzinfo=UTC)
JOB = Job(
    job_id="job_1",
    dataset_id="ds_1",
    server_config=ServerConfig(base_model="gpt2", custom_args=["--x"]),
    base_model_id="gpt2",
    state=JobState.RUNNING,
    create_time=NOW,
    update_time=NOW,
    counts=Counts(total=100, pending=40, in_flight=10, succeeded=45, failed=5),
    rows_per_second=2.0,
    prompt_tokens=3_000_000,
    completion_tokens=1,
    price_micros_per_million=500_000,
    errors=[RowError(line=1, custom_id="a", code="c", message="m")],
    output_file=ResultFile(key="secret/key", row_count=1, byte_count=2, sha256="00"),
)


def message(**changes: object):
    return JobTranslator("USD").job(msgspec.structs.replace(JOB, **changes), now=NOW)


def test_the_end_is_foretold_from_the_rate() -> None:
    progress = message().progress
    assert progress.fraction == pytest.approx(0.5)
    assert progress.remaining.ToTimedelta() == timedelta(seconds=25)
    assert progress.eta.ToDatetime(tzinfo=UTC) == NOW + timedelta(seconds=25)


def test_what_the_planner_foretold_goes_before_the_rate_and_has_a_band() -> None:
    early, expected, late = (NOW + timedelta(seconds=each) for each in (-5, 100, 300))
    foretold = {"eta_early": early, "eta": expected, "eta_late": late}
    for state in (JobState.QUEUED, JobState.RUNNING):
        progress = message(state=state, **foretold).progress
        assert progress.remaining.ToTimedelta() == timedelta(seconds=100)
        assert progress.eta.ToDatetime(tzinfo=UTC) == expected
        # What lies behind us already is not told as the earliest end.
        assert progress.eta_early.ToDatetime(tzinfo=UTC) == NOW
        assert progress.eta_late.ToDatetime(tzinfo=UTC) == late
    assert not message(state=JobState.PAUSED, **foretold).progress.HasField("eta")
    passed = message(eta=NOW - timedelta(seconds=1)).progress
    assert passed.eta.ToDatetime(tzinfo=UTC) == NOW + timedelta(seconds=25)


def test_the_answer_to_a_deadline_is_told() -> None:
    assert message().admission == job_pb2.JOB_ADMISSION_UNSPECIFIED
    told = message(admission=AdmissionAnswer.AT_RISK, admission_reason="tight", earliest_finish_time=NOW)
    assert told.admission == job_pb2.JOB_ADMISSION_AT_RISK
    assert told.admission_reason == "tight"
    assert told.earliest_finish_time.ToDatetime(tzinfo=UTC) == NOW
    read = ClientJob.from_proto(told)
    assert (read.admission, read.earliest_finish_time) == (JobAdmission.AT_RISK, NOW)


@pytest.mark.parametrize("changes", [{"rows_per_second": 0.0}, {"rows_per_second": 1e-12}, {"state": JobState.PAUSED}])
def test_without_a_rate_nothing_is_foretold(changes: dict[str, object]) -> None:
    progress = message(**changes).progress
    assert not progress.HasField("eta")
    assert not progress.HasField("remaining")


def test_a_job_without_rows_has_no_progress() -> None:
    assert not message(counts=Counts()).HasField("progress")


def test_the_cost_is_exact() -> None:
    assert (message().cost.currency, message().cost.micros) == ("USD", 1_500_001)


def test_files_are_told_when_the_job_has_ended_without_their_keys() -> None:
    assert not message().HasField("output_file")
    ended = message(state=JobState.SUCCEEDED)
    assert (ended.output_file.byte_count, ended.error_file.byte_count) == (2, 0)
    assert "secret" not in str(ended)


def test_lists_leave_errors_out() -> None:
    translator = JobTranslator("USD")
    assert len(translator.job(JOB, now=NOW).errors) == 1
    assert len(translator.job(JOB, now=NOW, with_errors=False).errors) == 0


@pytest.mark.parametrize("state", JobState)
def test_every_state_has_its_number(state: JobState) -> None:
    assert message(state=state).state > 0
