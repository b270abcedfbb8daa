"""Bands come to hold the truth as often as they say."""

import math
import random

import pytest
from lorax_batch_scheduler.estimates import Calibration, LearnedBook
from lorax_batch_scheduler.replay.trace import (
    VERSION,
    RowDistribution,
    Trace,
    TraceFamily,
    TraceJob,
    TraceModel,
    TraceSlot,
)

from bench.eta.replay import foretell


@pytest.mark.parametrize(("bias", "spread"), [(0.0, 1.0), (0.7, 1.0), (0.0, 3.0), (-0.5, 0.3)])
def test_whatever_the_forecast_leaves_out_the_edges_come_right(bias: float, spread: float) -> None:
    chance = random.Random(5)
    calibration = Calibration(LearnedBook())
    for number in range(1_500):
        calibration.note(str(number), 0.0, now=0.0, finish=100.0, log_sigma=0.4)
        calibration.ended(str(number), 100.0 * math.exp(0.4 * chance.gauss(bias, spread)))
    (told,) = calibration.coverage()
    assert told.within == pytest.approx(0.8, abs=0.06)
    assert told.before == pytest.approx(0.1, abs=0.05)


def test_each_stage_is_noted_once_and_near_ends_not_at_all() -> None:
    calibration = Calibration(LearnedBook())
    for fraction in (0.0, 0.1, 0.3, 0.4, 0.8):
        calibration.note("j", fraction, now=0.0, finish=100.0, log_sigma=0.4)
    calibration.note("soon", 0.0, now=0.0, finish=1.0, log_sigma=0.4)
    calibration.note("never", 0.0, now=0.0, finish=math.inf, log_sigma=0.4)
    for job_id in ("j", "soon", "never", "unknown"):
        calibration.ended(job_id, 100.0)
    assert [(each.stage, each.ends, each.within) for each in calibration.coverage()] == [
        (0.0, 1, 1.0),
        (0.25, 1, 1.0),
        (0.75, 1, 1.0),
    ]


def test_a_job_that_was_paused_is_not_scored() -> None:
    calibration = Calibration(LearnedBook())
    for job_id in ("paused", "gone"):
        calibration.note(job_id, 0.0, now=0.0, finish=100.0, log_sigma=0.4)
    calibration.forget("paused")
    calibration.keep_only([])
    calibration.ended("paused", 100.0)
    calibration.ended("gone", 100.0)
    assert calibration.coverage() == []


def test_in_a_replay_most_jobs_end_within_their_band() -> None:
    book = LearnedBook()
    for seed in (1, 2):
        foretell(_trace(seed), Calibration(book))
    calibration = Calibration(book)
    for seed in (3, 4):
        foretell(_trace(seed), calibration)
    for told in calibration.coverage():
        assert told.ends >= 30
        assert 0.6 <= told.within <= 0.98, told


def _trace(seed: int) -> Trace:
    chance = random.Random(seed)
    jobs = [
        TraceJob(
            id=f"job-{number}",
            family=chance.choice(["seven", "eight"]),
            arrival_s=chance.uniform(0, 900),
            tenant=chance.choice("ab"),
            drawn=RowDistribution(
                seed=seed * 1000 + number,
                count=max(round(chance.lognormvariate(5.5, 1)), 1),
                prompt_median=400,
                output_median=chance.choice([60, 150, 250]),
            ),
        )
        for number in range(40)
    ]
    gib = 1 << 30
    model = TraceModel(name="m", parameters=7 * 10**9, weight_bytes=14 * 10**9, kv_bytes_per_token=131_072)
    return Trace(
        version=VERSION,
        slots=[TraceSlot(id=f"gpu-{n}", kind="a100-80", memory_bytes=80 * gib) for n in range(3)],
        models=[model],
        families=[TraceFamily(id="seven", model="m"), TraceFamily(id="eight", model="m")],
        jobs=jobs,
    )
