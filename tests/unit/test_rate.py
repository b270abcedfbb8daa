"""Rates over about the last minute."""

import pytest
from lorax_batch_scheduler.rate import Rate


def test_a_steady_stream_is_told_from_its_first_seconds_on() -> None:
    rate = Rate(0.0)
    for tick in range(1, 400):
        rate.add(25, tick * 0.25)
        if tick > 8:
            assert rate.per_second(tick * 0.25) == pytest.approx(100, rel=0.15)


def test_nothing_is_told_before_there_is_anything_to_tell() -> None:
    assert Rate(0.0).per_second(0.0) == 0.0


def test_a_stream_that_stops_fades() -> None:
    rate = Rate(0.0)
    for tick in range(100):
        rate.add(10, tick * 0.1)
    assert rate.per_second(130.0) < 3
