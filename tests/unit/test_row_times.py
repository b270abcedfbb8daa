"""How long rows take on full servers, by what was learned, and how fast servers are that are filled in part."""

from dataclasses import replace

import pytest
from lorax_batch_scheduler.estimates import AdapterLeft, Estimates, FamilyFacts, Gpu, JobLeft, RowsEnded
from lorax_batch_scheduler.estimates.family_facts import expected_server
from lorax_batch_scheduler.fleet import ServerStatus
from lorax_batch_scheduler.scheduling.row_times import full_row_s, speed_at

from tests.fleets import LIMITS, server

A100 = Gpu(kind="a100-80", memory_bytes=80 << 30)
H100 = Gpu(kind="h100-80", memory_bytes=80 << 30)
MODEL = expected_server(FamilyFacts(), A100)
"""What the server that is seen is like; rows of 400 prompt tokens get 256 of 512 output tokens."""
HELD = MODEL.kv_tokens / 912
LEFT = JobLeft(
    family="f", rows=(AdapterLeft(adapter="", row_count=1000, prompt_tokens=400_000, allowed_tokens=512_000),)
)


def seen_at_work(window_part: float, *, slowness: float) -> Estimates:
    """Return what is learned of a server that is filled so far and takes so much longer than its model says."""
    estimates = Estimates()
    estimates.know_family("f", FamilyFacts())
    row_s = slowness * MODEL.least_s(400, 256, 912, adapter=False, window_part=window_part)
    in_flight = round(window_part * HELD)
    for now in range(600):
        estimates.server_seen(
            "s", "f", A100, now=float(now), in_flight=in_flight, fullness=1.0, window_part=window_part
        )
        rows = round((now + 1) / row_s) - round(now / row_s)
        estimates.rows_ended(
            RowsEnded(family="f", adapter="", row_count=rows, prompt_tokens=400 * rows, completion_tokens=256 * rows,
                      allowed_tokens=512 * rows),
            server_id="s",
        )  # fmt: skip
    return estimates


def told(kv_tokens: int, *, rows: int = 1024, ceiling: int | None = None) -> ServerStatus:
    """Return a server that reports what it holds."""
    status = server()
    limits = replace(LIMITS, max_concurrent_requests=rows, max_batch_total_tokens=kv_tokens)
    return replace(status, limits=limits, slot=replace(status.slot, max_in_flight=ceiling))


@pytest.mark.parametrize("window_part", [1.0, 0.25])
def test_a_server_shows_the_same_speed_however_far_it_is_filled(window_part: float) -> None:
    work = seen_at_work(window_part, slowness=1.5).work(LEFT, [A100])["a100-80"]
    assert work.slot_s == pytest.approx(1000 * 1.5 * MODEL.least_s(400, 256, 912, adapter=False), rel=0.05)
    assert speed_at([{"a100-80": work}], "a100-80", 1.0) == 1.0
    slower = MODEL.least_s(400, 256, 912, adapter=False) / MODEL.least_s(400, 256, 912, adapter=False, window_part=0.25)
    assert 0.3 < slower < 1
    assert speed_at([{"a100-80": work}], "a100-80", 0.25) == pytest.approx(slower)


def test_how_long_a_row_takes_is_not_known_before_a_server_was_seen_at_work() -> None:
    assert full_row_s([Estimates().work(LEFT, [A100, H100])], [told(350_000)]) == 0.0
    assert full_row_s([], []) == 0.0


def test_a_row_takes_its_part_of_the_time_of_as_many_as_the_server_holds() -> None:
    work = seen_at_work(1.0, slowness=1.5).work(LEFT, [A100, H100])
    row_s = work["a100-80"].slot_s / 1000
    assert full_row_s([work], []) == pytest.approx(HELD * row_s)
    assert full_row_s([work, work], [told(91_200)]) == pytest.approx(100 * row_s)
    assert full_row_s([work], [told(350_000, rows=64)]) == pytest.approx(64 * row_s)
    assert full_row_s([work], [told(350_000, ceiling=20)]) == pytest.approx(20 * row_s)
    assert full_row_s([work], [server()]) == pytest.approx(HELD * row_s), "one that does not say"
