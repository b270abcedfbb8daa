"""The retry table knows an end for every row, whatever a server answers."""

from hypothesis import given
from hypothesis import strategies as st
from lorax_batch_scheduler.lorax_servers.connection import WireFault
from lorax_batch_scheduler.running.bad_answer import BadAnswer
from lorax_batch_scheduler.running.retry import (
    MAX_ATTEMPTS,
    MAX_BATCH_FAILURES,
    MAX_EXCUSED,
    MAX_RETRY_AFTER_S,
    SUSPECTS_KEPT,
    Action,
    Decision,
    RowFacts,
    decide,
)
from lorax_batch_scheduler.work import RowTrouble

MESSAGES = [
    "",
    "CUDA out of memory",
    "Request failed during generation: Server error: Unexpected <class 'RuntimeError'>: CUDA error: device-side assert",
    "Request failed during generation: Server error: transport error",
    "Failed to load adapter: adapter 'x' not found",
    "`inputs` tokens + `max_new_tokens` must be <= 512. Given: 510 `inputs` tokens and 20 `max_new_tokens`",
    "failed to parse generated text",
]
answers = st.one_of(
    st.builds(BadAnswer, fault=st.sampled_from(WireFault), message=st.sampled_from(MESSAGES)),
    st.builds(
        BadAnswer,
        status=st.integers(100, 599),
        content_type=st.sampled_from(["", "text/html", "application/json"]),
        error_type=st.sampled_from(
            ["", "generation", "overloaded", "validation", "template_error", "tool_error", "embedding_failure", "odd"]
        ),
        message=st.sampled_from(MESSAGES) | st.text(max_size=30),
        retry_after_s=st.none() | st.floats(0, 1e9),
    ),
)
facts = st.builds(
    RowFacts,
    adapter=st.sampled_from(["", "a"]),
    constrained=st.booleans(),
    company=st.integers(0, 300),
    crowd=st.integers(1, 300),
    trusted=st.booleans(),
)
chances = st.floats(0, 1, exclude_max=True)


@given(answers, facts, st.integers(0, MAX_ATTEMPTS - 1), st.integers(0, 9), st.integers(0, 50), chances)
def test_every_answer_has_a_decision_within_its_bounds(
    answer: BadAnswer, row: RowFacts, attempts: int, batch_failures: int, max_tokens: int, chance: float
) -> None:
    trouble = RowTrouble(attempts=attempts, batch_failures=batch_failures, max_tokens=max_tokens)
    decision = decide(answer, row, trouble, chance)
    assert 0 <= decision.delay_s <= MAX_RETRY_AFTER_S
    assert decision.code
    assert decision.message
    assert decision.counts + decision.batch_failure + decision.excused <= 1
    assert decision.max_tokens >= 0
    assert decision == decide(answer, row, trouble, chance), "the same facts lead to the same decision"
    assert trouble == RowTrouble(attempts=attempts, batch_failures=batch_failures, max_tokens=max_tokens)


@given(answers, facts, st.integers(0, MAX_ATTEMPTS - 2), chances)
def test_a_row_that_fails_at_once_fails_later_too(
    answer: BadAnswer, row: RowFacts, attempts: int, chance: float
) -> None:
    first = decide(answer, row, RowTrouble(attempts=attempts), chance)
    later = decide(answer, row, RowTrouble(attempts=attempts + 1), chance)
    if first.action is Action.FAIL_ROW:
        assert later.action is Action.FAIL_ROW


CROWD = 1_000
ROUNDS = next(rounds for rounds in range(CROWD) if SUSPECTS_KEPT**rounds > CROWD)
"""So often suspects fail together until one of them is alone."""


@given(
    st.lists(st.tuples(answers, st.booleans(), st.booleans(), chances), min_size=40, max_size=80),
    st.sampled_from(["", "a"]),
)
def test_every_row_ends_after_few_answers_that_speak_against_it(
    story: list[tuple[BadAnswer, bool, bool, float]], adapter: str
) -> None:
    """As `RowJudge` does it, and a suspect has no more company than it may have."""
    trouble, charged = RowTrouble(), 0
    for answer, constrained, trusted, chance in story:
        row = RowFacts(adapter=adapter, constrained=constrained, company=trouble.company, crowd=CROWD, trusted=trusted)
        decision = decide(answer, row, trouble, chance)
        if decision.action in (Action.FAIL_ROW, Action.FAIL_ADAPTER, Action.ADAPTER_ELSEWHERE):
            break
        charged += _charged(decision)
        _remember(trouble, decision)
        assert trouble.attempts < MAX_ATTEMPTS
        assert trouble.batch_failures <= MAX_BATCH_FAILURES + ROUNDS
        assert trouble.excused <= MAX_EXCUSED
    assert charged <= MAX_ATTEMPTS - 1 + MAX_BATCH_FAILURES + ROUNDS + MAX_EXCUSED + 1


def _charged(decision: Decision) -> bool:
    return decision.counts or decision.batch_failure or decision.excused or bool(decision.max_tokens)


def _remember(trouble: RowTrouble, decision: Decision) -> None:
    trouble.attempts += decision.counts
    trouble.batch_failures += decision.batch_failure
    trouble.excused += decision.excused
    trouble.company = decision.company or trouble.company
    trouble.max_tokens = decision.max_tokens or trouble.max_tokens
