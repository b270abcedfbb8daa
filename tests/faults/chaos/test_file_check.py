"""The check of result files finds what it is for: it fails when a row is lost, doubled, foreign or miscounted."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from lorax_batch_client import Counts, Job, JobState, Usage
from lorax_batch_client.job import Cost, ResultFile
from lorax_batch_client.server_config import ServerConfig

from tests.faults.chaos.file_check import FileCheck
from tests.faults.chaos.findings import Findings
from tests.faults.chaos.job_plan import ExpectedLine, Outcome

LINES = {
    1: ExpectedLine(custom_id="a-1", key="m#1", outcome=Outcome.ANSWERED, text="digest1 say"),
    2: ExpectedLine(custom_id="a-2", key="m#2", outcome=Outcome.ANSWERED, text="digest2 say"),
    3: ExpectedLine(custom_id="a-3", key="m#3", outcome=Outcome.REFUSED),
    4: ExpectedLine(custom_id="", key="m#4", outcome=Outcome.INVALID),
}
Row = dict[str, Any]


def job(**changes: Any) -> Job:
    ended = Job(
        job_id="job_1",
        dataset_id="ds_1",
        server_config=ServerConfig(base_model="m"),
        base_model_id="m",
        state=JobState.SUCCEEDED,
        reason="",
        counts=Counts(total=4, succeeded=2, failed=1, invalid=1),
        usage=Usage(prompt_tokens=20, completion_tokens=10, total_tokens=30),
        cost=Cost(),
        progress=None,
        priority=0,
        deadline=None,
        create_time=None,
        start_time=None,
        end_time=None,
        update_time=None,
        output_file=ResultFile(row_count=2, byte_count=0, sha256=""),
        error_file=ResultFile(row_count=2, byte_count=0, sha256=""),
    )
    return replace(ended, **changes)


def answer(line: int, text: str = "") -> Row:
    body = {
        "choices": [{"message": {"content": text or f"digest{line} say something"}}],
        "usage": {"prompt_tokens": 10, "completion_tokens": 5},
    }
    response = {"status_code": 200, "body": body}
    return {"id": f"batch_req_job_1_{line}", "custom_id": f"a-{line}", "response": response, "error": None}


def failure(line: int, code: str, custom_id: str | None) -> Row:
    error = {"code": code, "message": "no"}
    return {"id": f"batch_req_job_1_{line}", "custom_id": custom_id, "response": None, "error": error}


OUTPUT = [answer(1), answer(2)]
ERRORS = [failure(3, "template_error", "a-3"), failure(4, "invalid_json_line", None)]


def found(output: list[Row], errors: list[Row], ended: Job | None = None) -> Findings:
    findings = Findings()
    check = FileCheck(ended or job(), LINES, findings)
    check.check(*([json.dumps(row).encode() for row in rows] for rows in (output, errors)))
    return findings


def test_files_that_are_right_pass() -> None:
    """What the other tests spoil is right by itself."""
    assert found(OUTPUT, ERRORS).texts == []


def test_a_lost_row_is_found() -> None:
    """A line that is in neither file counts as lost."""
    findings = found(OUTPUT[:1], ERRORS)
    assert findings.lost == 1
    assert "lines are lost: [2]" in findings.texts[0]


def test_a_doubled_row_is_found() -> None:
    """A line that is there twice counts as doubled, in one file and in both."""
    assert found([*OUTPUT, answer(2)], ERRORS).doubled == 1
    assert found(OUTPUT, [*ERRORS, failure(1, "template_error", "a-1")]).doubled == 1


def spoilt(change: Callable[[Row], object], row: Row) -> Row:
    copy: Row = json.loads(json.dumps(row))
    change(copy)
    return copy


@pytest.mark.parametrize(
    ("output", "errors", "ended", "told"),
    [
        ([answer(1, "digest2 say something"), answer(2)], ERRORS, job(), "the answer of another row"),
        ([spoilt(lambda row: row.update(custom_id="a-9"), OUTPUT[0]), answer(2)], ERRORS, job(), "it is 'a-1'"),
        ([spoilt(lambda row: row.update(id="batch_req_job_2_1"), OUTPUT[0]), answer(2)], ERRORS, job(), "another job"),
        ([answer(1), answer(3)], [failure(2, "template_error", "a-2"), ERRORS[1]], job(), "refused and has an answer"),
        (OUTPUT, [failure(3, "server_error", "a-3"), ERRORS[1]], job(), "has failed"),
        (OUTPUT, [failure(3, "batch_cancelled", "a-3"), ERRORS[1]], job(), "has failed"),
        (OUTPUT, ERRORS, job(counts=Counts(total=4, succeeded=3, failed=1)), "2 and 2 lines of 4"),
        (OUTPUT, ERRORS, job(counts=Counts(total=4, succeeded=2, failed=1, pending=1)), "without all its rows"),
        (OUTPUT, ERRORS, job(usage=Usage(prompt_tokens=30, completion_tokens=10, total_tokens=40)), "its usage is"),
        (OUTPUT, ERRORS, job(error_file=ResultFile(row_count=3, byte_count=0, sha256="")), "has 2 lines"),
        ([answer(1), answer(2), answer(5)], ERRORS, job(), "never asked for: [5]"),
    ],
)
def test_what_is_wrong_is_found(output: list[Row], errors: list[Row], ended: Job, told: str) -> None:
    """A foreign answer, a wrong name, a wrong code, wrong counts and a wrong usage are findings."""
    texts = found(output, errors, ended).texts
    assert any(told in text for text in texts), texts


def test_a_line_that_is_no_json_is_found() -> None:
    """A torn line is a finding, and its row is lost."""
    findings = Findings()
    FileCheck(job(), LINES, findings).check([json.dumps(answer(1)).encode(), b'{"id": "batch_'], [])
    assert "can't be read" in findings.texts[0]
    assert findings.lost == 3


def test_rows_that_a_cancelled_job_never_ran_are_no_finding() -> None:
    """They have their code in the error file."""
    ended = job(state=JobState.CANCELLED, counts=Counts(total=4, succeeded=2, cancelled=1, invalid=1))
    assert found(OUTPUT, [failure(3, "batch_cancelled", "a-3"), ERRORS[1]], ended).texts == []
