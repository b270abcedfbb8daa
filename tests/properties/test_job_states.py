"""The state machine of a job, as the table has it and as PostgreSQL keeps it."""

import itertools

from hypothesis import given
from hypothesis import strategies as st
from lorax_batch_scheduler.dataset import ChunkKind
from lorax_batch_scheduler.errors import StateConflictError
from lorax_batch_scheduler.job import OUTCOMES, TERMINAL_STATES, JobEvent, JobState, ResultFile, next_state

from tests.integration.postgres.conftest import LEASE, Stores, stores
from tests.integration.postgres.test_commit import results_of
from tests.properties.effort import examples

__all__ = ["stores"]

FILE = ResultFile(key="file", row_count=0, byte_count=0, sha256="")
_numbers = itertools.count(1)
events = st.lists(st.sampled_from(JobEvent), max_size=25)
states = st.sampled_from(JobState)


@given(states, st.none() | st.sampled_from(sorted(TERMINAL_STATES)), events)
def test_no_event_leads_out_of_an_end_and_an_outcome_is_decided_once(
    state: JobState, outcome: JobState | None, story: list[JobEvent]
) -> None:
    for event in story:
        try:
            target = next_state("job", state, event, outcome)
        except StateConflictError:
            continue
        assert state not in TERMINAL_STATES
        outcome = outcome or OUTCOMES.get(event)
        if state is JobState.FINALIZING:
            assert target is outcome
        state = target


def test_every_live_state_has_a_way_to_an_end() -> None:
    for state in set(JobState) - TERMINAL_STATES:
        reached = {state}
        while True:
            more = {
                target
                for known, event in itertools.product(reached, JobEvent)
                if (target := _target(known, event)) is not None
            }
            if more <= reached:
                break
            reached |= more
        assert reached & TERMINAL_STATES, state


def _target(state: JobState, event: JobEvent) -> JobState | None:
    try:
        return next_state("job", state, event, JobState.SUCCEEDED)
    except StateConflictError:
        return None


@examples(25)
@given(story=events)
async def test_postgresql_follows_the_table_and_tells_every_move_once(stores: Stores, story: list[JobEvent]) -> None:
    number = next(_numbers)
    job_id = f"job_{number}"
    await stores.ready_dataset(1, dataset_id=f"ds_{number}")
    job = await stores.queued_job(job_id, f"ds_{number}")
    # Its only row has its result from the beginning: what is tested here are the moves.
    await stores.leases.register_scheduler(f"s{number}", LEASE, exclusive=False)
    (chunk,) = await stores.leases.claim_chunks(f"s{number}", job_id, ChunkKind.ROWS, "adapter-0", 1)
    await stores.leases.commit_results(f"s{number}", [results_of(chunk, [0])], [])
    state, outcome, sequence = job.state, None, job.sequence
    told: list[tuple[JobState | None, JobState]] = [(None, JobState.QUEUED)]
    for event in story:
        try:
            target: JobState | None = next_state(job_id, state, event, outcome)
        except StateConflictError:
            target = None
        try:
            if event is JobEvent.FINISH:
                moved = await stores.results.finish_job(job_id, FILE, FILE)
            else:
                moved = await stores.jobs.move_job(job_id, event, reason=f"because of {event}")
        except StateConflictError:
            assert target is None
            continue
        assert moved.state is target
        outcome = outcome or OUTCOMES.get(event) or (moved.state if moved.state.terminal else None)
        assert (moved.outcome, moved.sequence) == (outcome, sequence + 1)
        assert (moved.end_time is not None) == moved.state.terminal
        told.append((state, moved.state))
        state, sequence = moved.state, moved.sequence
    changes = await stores.jobs.state_changes(job.sequence - 1, limit=100)
    assert [change.sequence for change in changes] == list(range(job.sequence, sequence + 1))
    assert [(change.from_state, change.to_state) for change in changes] == told
