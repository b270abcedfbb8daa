"""The lease and commit protocol keeps its promises whatever happens in whatever order, as far as the budgets go."""

import os
from dataclasses import replace
from functools import partial

import pytest

from tests.model.defects import Defect
from tests.model.explorer import explore
from tests.model.lease_model import LeaseModel
from tests.model.state import Budget

Alone = partial(LeaseModel, processes=1)
OneRow = partial(LeaseModel, chunks=(1,))
"""Two processes that quarrel over a single row: what a second row could add, the cheaper setups show."""

SETUPS = {
    "nothing happens": LeaseModel(budget=Budget()),
    "a process dies": LeaseModel(budget=Budget(crashes=1)),
    "a lease runs out": LeaseModel(budget=Budget(slow=1)),
    "two deaths, two chunks": Alone(budget=Budget(crashes=2), chunks=(1, 1)),
    "an owner follows another": LeaseModel(budget=Budget(crashes=2, lost=1), exclusive=True),
    "answers are lost, a job is paused": Alone(budget=Budget(lost=2, pauses=1)),
    "a request arrives late, a job is paused": Alone(budget=Budget(late=1, pauses=1)),
    "a lease runs out, and an answer is lost": Alone(budget=Budget(slow=1, lost=1)),
    "finalisers die": OneRow(budget=Budget(crashes=3, unended=1), processes=1),
    "finalisers die, a lease runs out": OneRow(budget=Budget(crashes=1, slow=1, aborts=1), processes=1, max_attempts=1),
    "a finaliser stands still": OneRow(budget=Budget(freezes=1, deletes=1), max_attempts=1),
    "a finaliser stands still over a deletion": OneRow(budget=Budget(freezes=1, deletes=1), small_files=True),
    "a lease runs out, and the job is cancelled": Alone(budget=Budget(slow=1, cancels=1)),
    "rows fail, are retried and deleted": Alone(budget=Budget(failures=1, retries=1, cancels=1, deletes=1)),
    "a process stands still": OneRow(budget=Budget(freezes=1)),
    "a process hands back, an answer is lost": OneRow(budget=Budget(drains=1, lost=1, pauses=1)),
    "a death while the deadline passes": OneRow(budget=Budget(crashes=1, expiries=1)),
    "finalisers fail, or stay known": OneRow(budget=Budget(unended=1, faults=1, aborts=1)),
    "a request arrives late, the job is cancelled": OneRow(budget=Budget(late=1, cancels=1)),
}

LONG_SETUPS = {
    "a process stands still, the job is cancelled": OneRow(budget=Budget(freezes=1, cancels=1)),
    "a process stands still, an answer is lost": LeaseModel(budget=Budget(freezes=1, lost=1)),
    "a request arrives late": LeaseModel(budget=Budget(late=1, cancels=1)),
    "a death, and an answer is lost": LeaseModel(budget=Budget(crashes=1, lost=1)),
    "a lease runs out late": OneRow(budget=Budget(late=1, slow=1)),
    "a lease runs out while the job is cancelled": OneRow(budget=Budget(slow=1, cancels=1)),
    "three processes": LeaseModel(budget=Budget(crashes=1), processes=3, chunks=(1,)),
}
"""Explored when asked for: `HYPOTHESIS_PROFILE=long`."""
if os.environ.get("HYPOTHESIS_PROFILE") == "long":
    SETUPS |= LONG_SETUPS

FOUND_BY = {
    "a lease runs out, and an answer is lost": [
        {Defect.COMMIT_IGNORES_EPOCH},
        {Defect.RELEASE_IGNORES_EPOCH},
        {Defect.RELEASE_IGNORES_LEASE},
        {Defect.LEARNS_LOSS_AFTER_REGISTER},
        # Each of these alone leaves another guard standing.
        {Defect.ORPHANS_KEEP_EPOCH, Defect.CLAIM_KEEPS_EPOCH},
    ],
    "answers are lost, a job is paused": [
        {Defect.COMMIT_REPEATS},
        {Defect.RESENT_IS_LOST},
        {Defect.CLAIM_TAKES_LEASED},
        {Defect.MOVE_FROM_ANY_STATE},
        {Defect.RELEASES_BEFORE_COMMIT},
        {Defect.SENDS_DONE_ROWS},
        {Defect.NEVER_RECONCILES},
        {Defect.RECONCILES_UNFLUSHED},
        {Defect.FORGOTTEN_SKIPS_PAUSED, Defect.RECONCILES_ONCE},
        {Defect.RESENT_IS_LOST, Defect.LOST_IS_NOT_RELEASED, Defect.RECONCILES_ONCE},
    ],
    "a request arrives late, a job is paused": [
        {Defect.FORGETS_ON_LOST_ANSWER},
        {Defect.RECONCILES_ONCE},
    ],
    "rows fail, are retried and deleted": [
        {Defect.FENCE_KEEPS_EPOCH},
        {Defect.FENCE_KEEPS_OWNER},
        {Defect.BATCH_BY_CHUNK},
        {Defect.LOST_CHUNKS_GO_ON},
    ],
    "a lease runs out, and the job is cancelled": [
        {Defect.FILES_BEFORE_ROWS},
        {Defect.FINISH_WITHOUT_ALL_ROWS, Defect.FILES_BEFORE_ROWS},
    ],
    "finalisers fail, or stay known": [
        {Defect.FINALISING_FROM_THE_LIVING},
        {Defect.COUNTS_THE_SAME_OWNER},
    ],
    "finalisers die": [
        {Defect.FINALISING_STAYS},
    ],
    "finalisers die, a lease runs out": [
        {Defect.ABANDON_WITHOUT_ALL_ROWS},
        {Defect.FINALISING_BY_THE_DEAD},
    ],
    "a finaliser stands still": [
        {Defect.FINISH_AFTER_THE_END},
        {Defect.ENDS_ANOTHERS_FINALISING},
    ],
    "a finaliser stands still over a deletion": [
        {Defect.LEAVES_FILES_OF_THE_DELETED},
    ],
    "a lease runs out": [
        {Defect.SENDS_UNSURE},
        {Defect.RENEWS_THE_REMOVED},
    ],
    "nothing happens": [
        {Defect.FREES_THE_LIVING},
    ],
    "a process dies": [
        {Defect.ORPHANS_STAY},
    ],
    "a process stands still": [
        {Defect.CLAIM_BY_THE_DEAD},
    ],
    "a death while the deadline passes": [
        {Defect.CLAIM_IGNORES_STATE},
    ],
}


@pytest.mark.parametrize("name", SETUPS)
def test_nothing_breaks_the_protocol(name: str) -> None:
    found = explore(SETUPS[name])
    print(f"{name}: {found.states} states, {found.steps} steps, {found.depth} deep")
    assert found.counterexample is None, found.counterexample


@pytest.mark.parametrize(
    ("name", "defects"),
    [
        pytest.param(name, frozenset(defects), id=" and ".join(sorted(defect.name for defect in defects)))
        for name, several in FOUND_BY.items()
        for defects in several
    ],
)
def test_a_mistake_would_be_found(name: str, defects: frozenset[Defect]) -> None:
    wrong = replace(SETUPS[name], defects=defects)
    assert explore(wrong).counterexample is not None


def test_every_mistake_is_tried() -> None:
    assert {defect for several in FOUND_BY.values() for defects in several for defect in defects} == set(Defect)
