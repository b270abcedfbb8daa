"""Slot-seconds of jobs, from the size of the model and from what servers have done."""

from itertools import pairwise

import pytest
from lorax_batch_scheduler.estimates import AdapterLeft, Estimates, FamilyFacts, Gpu, JobLeft, RowsEnded

A100 = Gpu(kind="a100-80", memory_bytes=80 << 30)
H100 = Gpu(kind="h100-80", memory_bytes=80 << 30)
LEFT = JobLeft(
    family="f", rows=(AdapterLeft(adapter="", row_count=1000, prompt_tokens=400_000, allowed_tokens=512_000),)
)


def run(estimates: Estimates, *, seconds: int, rows_per_second: int, in_flight: int = 100, server: str = "s") -> None:
    """Let a server end rows at a steady pace."""
    for now in range(seconds):
        estimates.server_seen(server, "f", A100, now=float(now), in_flight=in_flight, fullness=in_flight / 100)
        estimates.rows_ended(
            RowsEnded(
                family="f", adapter="", row_count=rows_per_second, prompt_tokens=400 * rows_per_second,
                completion_tokens=256 * rows_per_second, allowed_tokens=512 * rows_per_second,
            ),
            server_id=server,
        )  # fmt: skip


def test_before_anything_is_seen_a_faster_gpu_and_a_smaller_model_take_less() -> None:
    estimates = Estimates()
    estimates.know_family("f", FamilyFacts())
    work = estimates.work(LEFT, [A100, H100])
    assert 0 < work["h100-80"].slot_s < work["a100-80"].slot_s
    small = Estimates()
    small.know_family("f", FamilyFacts(parameters=10**9, weight_bytes=2 * 10**9))
    assert small.work(LEFT, [A100])["a100-80"].slot_s < work["a100-80"].slot_s
    assert small.setup_s("f", [A100])["a100-80"] < estimates.setup_s("f", [A100])["a100-80"]


def test_an_unknown_gpu_is_taken_for_the_usual_one_and_no_size_is_too_small() -> None:
    estimates = Estimates()
    told = estimates.work(LEFT, [Gpu(kind=""), Gpu(kind="tiny", memory_bytes=1 << 30)])
    assert all(work.slot_s > 0 for work in told.values())


def test_a_busy_server_shows_how_fast_it_is() -> None:
    estimates = Estimates()
    run(estimates, seconds=120, rows_per_second=10)
    work = estimates.work(LEFT, [A100])["a100-80"]
    assert work.slot_s == pytest.approx(100, rel=0.1)
    assert estimates.tokens_per_second(LEFT, A100) == pytest.approx(6_560, rel=0.1)


def test_a_server_with_too_few_rows_shows_nothing() -> None:
    estimates = Estimates()
    before = estimates.work(LEFT, [A100])["a100-80"].log_sigma
    run(estimates, seconds=120, rows_per_second=1, in_flight=5)
    assert estimates.work(LEFT, [A100])["a100-80"].log_sigma <= before
    assert estimates.speeds({"s": ("f", "a100-80")}) == {"s": 1.0}


def test_a_slow_server_is_told_from_others_and_forgotten_with_them() -> None:
    estimates = Estimates()
    run(estimates, seconds=120, rows_per_second=10, server="quick")
    run(estimates, seconds=120, rows_per_second=5, server="slow")
    both = {"quick": ("f", "a100-80"), "slow": ("f", "a100-80")}
    speeds = estimates.speeds(both)
    assert speeds["quick"] == pytest.approx(2 * speeds["slow"], rel=0.1)
    estimates.server_gone("slow")
    assert estimates.speeds(both)["slow"] == 1.0


def test_starts_are_learned_by_kind() -> None:
    estimates = Estimates()
    foretold = estimates.setup_s("f", [A100, H100])
    for _ in range(5):
        estimates.server_ready("f", "a100-80", seconds=20)
    learned = estimates.setup_s("f", [A100, H100])
    assert learned["a100-80"] == pytest.approx(20)
    assert learned["h100-80"] == foretold["h100-80"]


def test_fewer_rows_are_less_work_but_the_last_row_takes_as_long() -> None:
    estimates = Estimates()

    def work(rows: int):
        each = AdapterLeft(adapter="", row_count=rows, prompt_tokens=400 * rows, allowed_tokens=512 * rows)
        return estimates.work(JobLeft(family="f", rows=(each,)), [A100])["a100-80"]

    works = [work(rows) for rows in (1, 10, 100, 1000)]
    assert all(less.slot_s < more.slot_s for less, more in pairwise(works))
    assert works[0].tail_s > works[0].slot_s
