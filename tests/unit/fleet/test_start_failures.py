"""Families whose servers fail to start."""

from datetime import UTC, datetime

from lorax_batch_scheduler.scheduling.start_failures import MAX_PAUSE_S, StartFailures

FIRST_PAUSE_S = 5.0
MAX_FAILED_STARTS = 5
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def failures_of() -> StartFailures:
    return StartFailures(first_pause_s=FIRST_PAUSE_S, max_failed_starts=MAX_FAILED_STARTS)


def test_the_pause_doubles_up_to_a_limit():
    failures = failures_of()
    pauses = [failures.add("f", "a100", 100.0, "exit 1", time=NOON).until - 100.0 for _ in range(12)]
    assert pauses[:3] == [FIRST_PAUSE_S, 2 * FIRST_PAUSE_S, 4 * FIRST_PAUSE_S]
    assert pauses[-1] == MAX_PAUSE_S


def test_other_families_and_other_kinds_are_not_held_back():
    failures = failures_of()
    failures.add("f", "a100", 0.0, "exit 1", time=NOON)
    assert failures.held_until("f") == {"a100": FIRST_PAUSE_S}
    assert failures.held_until("g") == {}


def test_a_held_family_says_how_it_failed_and_when_the_next_try_is():
    failures = failures_of()
    failures.add(
        "f", "a100", 0.0, "it ended with exit status 1", ["loading", "CUDA error: " + "x" * 300, ""], time=NOON
    )
    (told,) = failures.held_because("f").values()
    assert told.startswith("it ended with exit status 1 (CUDA error: xxx")
    assert told.endswith("x…); the next try is at 12:00:05 UTC")
    assert len(told) < 250


def test_a_success_begins_anew():
    failures = failures_of()
    for _ in range(3):
        failures.add("f", "a100", 0.0, "exit 1", time=NOON)
    failures.succeeded("f", "a100")
    assert failures.held_until("f") == {}
    assert failures.add("f", "a100", 0.0, "exit 1", time=NOON).count == 1


def test_a_family_is_hopeless_when_it_is_on_every_kind():
    failures = failures_of()
    for _ in range(MAX_FAILED_STARTS):
        failures.add("f", "a100", 0.0, "it ended with exit status 3", ["loading", "CUDA error: no device"], time=NOON)
    assert failures.hopeless("f", ["a100", "h100"]) is None, "not tried on the other kind yet"
    assert failures.hopeless("f", []) is None
    found = failures.hopeless("f", ["a100"])
    assert found is not None
    assert found.told("mistral-7b") == (
        f"servers of mistral-7b failed to start {MAX_FAILED_STARTS} times in a row (max_failed_starts), the last: it "
        "ended with exit status 3; last lines of its log: loading; CUDA error: no device; once that is mended, "
        "`lorax-batch jobs retry` runs the rows that are left"
    )
