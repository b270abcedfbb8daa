"""The state table, pair by pair."""

import pytest
from lorax_batch_scheduler.errors import StateConflictError
from lorax_batch_scheduler.job import OUTCOMES, TERMINAL_STATES, JobEvent, JobState, next_state

# One row a state; the columns are the events. "-": not allowed. "=": the job's outcome.
CHART = """
            DATASET_READY DATASET_FAILED ASSIGN   START   REQUEUE PAUSE  RESUME CANCEL     EXPIRE     ABORT      ROWS_DONE  FINISH
VALIDATING  QUEUED        FAILED         -        -       -       -      -      CANCELLING FINALIZING -          -          -
QUEUED      -             -              STARTING -       -       PAUSED -      CANCELLING FINALIZING FINALIZING FINALIZING -
STARTING    -             -              -        RUNNING QUEUED  PAUSED -      CANCELLING FINALIZING FINALIZING FINALIZING -
RUNNING     -             -              -        -       QUEUED  PAUSED -      CANCELLING FINALIZING FINALIZING FINALIZING -
PAUSED      -             -              -        -       -       -      QUEUED CANCELLING FINALIZING FINALIZING FINALIZING -
CANCELLING  -             -              -        -       -       -      -      -          -          -          -          CANCELLED
FINALIZING  -             -              -        -       -       -      -      -          -          -          -          =
SUCCEEDED   -             -              -        -       -       -      -      -          -          -          -          -
FAILED      -             -              -        -       -       -      -      -          -          -          -          -
CANCELLED   -             -              -        -       -       -      -      -          -          -          -          -
EXPIRED     -             -              -        -       -       -      -      -          -          -          -          -
"""  # noqa: E501 - a table


def pairs() -> list[tuple[JobState, JobEvent, str]]:
    header, *rows = (line.split() for line in CHART.strip().splitlines())
    return [
        (JobState(row[0]), JobEvent(event), target)
        for row in rows
        for event, target in zip(header, row[1:], strict=True)
    ]


def test_the_chart_names_every_state_and_event() -> None:
    assert {(state, event) for state, event, _ in pairs()} == {(s, e) for s in JobState for e in JobEvent}


@pytest.mark.parametrize(("state", "event", "target"), pairs())
def test_each_pair_of_state_and_event_does_what_the_chart_says(state: JobState, event: JobEvent, target: str) -> None:
    if target == "-":
        with pytest.raises(StateConflictError):
            next_state("job_1", state, event, JobState.SUCCEEDED)
    elif target == "=":
        for outcome in TERMINAL_STATES:
            assert next_state("job_1", state, event, outcome) is outcome
    else:
        assert next_state("job_1", state, event) is JobState(target)


def test_every_event_that_ends_a_job_decides_its_outcome() -> None:
    assert {event: OUTCOMES[event] for event in OUTCOMES} == {
        JobEvent.CANCEL: JobState.CANCELLED,
        JobEvent.EXPIRE: JobState.EXPIRED,
        JobEvent.ABORT: JobState.FAILED,
        JobEvent.ROWS_DONE: JobState.SUCCEEDED,
    }


def test_a_finalizing_job_without_outcome_does_not_end() -> None:
    with pytest.raises(StateConflictError):
        next_state("job_1", JobState.FINALIZING, JobEvent.FINISH)
