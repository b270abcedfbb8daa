"""The check of watches finds what it is for: gaps, repeats, sums that do not add up, and changes after an end."""

from dataclasses import replace

import pytest
from lorax_batch_client import Counts, Job, JobDeleted, JobEvent, JobProgressed, JobSnapshot, JobState, JobStateChanged

from tests.faults.chaos.event_check import EventCheck
from tests.faults.chaos.findings import Findings
from tests.faults.chaos.test_file_check import job

RUNNING = job(state=JobState.RUNNING, counts=Counts(total=4, pending=3, succeeded=1))
DONE = job()


def changed(sequence: int, before: JobState, after: Job) -> JobStateChanged:
    return JobStateChanged(sequence=sequence, job=after, from_state=before, to_state=after.state, reason="", time=None)


def ended(sequence: int = 6) -> list[JobEvent]:
    finalizing = replace(DONE, state=JobState.FINALIZING)
    return [
        changed(sequence, JobState.RUNNING, finalizing),
        changed(sequence + 1, JobState.FINALIZING, DONE),
    ]


def watch(*events: JobEvent, complete: bool = True) -> Findings:
    findings = Findings()
    check = EventCheck("one", findings, complete=complete)
    check.take(JobSnapshot(sequence=5, job=RUNNING))
    check.take_heartbeat(5)
    for event in events:
        check.take(event)
    return findings


def test_a_watch_that_is_right_passes() -> None:
    """What the other tests spoil is right by itself, up to a deletion."""
    assert watch(JobProgressed(sequence=5, job=RUNNING), *ended(), JobDeleted(sequence=8, job_id="job_1")).texts == []


@pytest.mark.parametrize(
    ("events", "told"),
    [
        ([*ended(7)], "a gap"),
        ([*ended(), ended()[1]], "a repeated change"),
        ([ended()[1]], "a gap"),
        ([changed(6, JobState.FINALIZING, DONE)], "a change is missing"),
        ([*ended(), JobProgressed(sequence=7, job=DONE)], "had ended as SUCCEEDED, and then"),
        ([*ended(), changed(8, JobState.SUCCEEDED, RUNNING)], "changed after its end"),
        ([JobProgressed(sequence=5, job=replace(RUNNING, counts=Counts(total=4, pending=4)))], "are gone"),
        ([JobProgressed(sequence=5, job=replace(RUNNING, counts=Counts(total=4, pending=4, failed=1)))], "add up"),
        ([JobProgressed(sequence=5, job=DONE)], "came without its change"),
        ([JobProgressed(sequence=4, job=RUNNING)], "goes back"),
        ([JobDeleted(sequence=6, job_id="job_1")], "was deleted while RUNNING"),
        ([*ended(), JobDeleted(sequence=8, job_id="job_1"), changed(9, JobState.QUEUED, RUNNING)], "was deleted, and"),
    ],
)
def test_what_is_wrong_is_found(events: list[JobEvent], told: str) -> None:
    """Each violation of the contract of watches is a finding."""
    texts = watch(*events).texts
    assert any(told in text for text in texts), texts


def test_a_heartbeat_that_hides_a_change_is_found() -> None:
    """The sequence of a heartbeat is that of the last change that was passed on."""
    findings = Findings()
    check = EventCheck("one", findings, complete=True)
    check.take_heartbeat(5)
    check.take_heartbeat(6)
    assert "a heartbeat with sequence 6" in findings.texts[0]


def test_a_watch_of_one_job_may_leave_sequences_out() -> None:
    """Those of other jobs are none of its own."""
    assert watch(*ended(17), complete=False).texts == []
