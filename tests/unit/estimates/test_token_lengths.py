"""Tokens left of a job, from what rows before have shown."""

import random

import pytest
from lorax_batch_scheduler.estimates import AdapterLeft, Estimates, JobLeft, RowsEnded


def left(adapter: str = "a", rows: int = 100, allowed: int = 500, **own: int) -> JobLeft:
    each = AdapterLeft(adapter=adapter, row_count=rows, prompt_tokens=200 * rows, allowed_tokens=allowed * rows)
    return JobLeft(family="f", rows=(each,), **own)


def ended(adapter: str = "a", length: float = 80, rows: int = 500, family: str = "f", **more: int) -> RowsEnded:
    tokens = round(length * rows)
    return RowsEnded(
        family=family, adapter=adapter, row_count=rows, prompt_tokens=220 * rows, completion_tokens=tokens, **more
    )


def test_with_nothing_seen_half_of_what_is_allowed_is_expected() -> None:
    assert Estimates().tokens_left(left()).output == 250 * 100


def test_lengths_of_the_same_adapter_are_used_first() -> None:
    estimates = Estimates()
    estimates.rows_ended(ended("a", 80))
    estimates.rows_ended(ended("b", 300))
    assert estimates.tokens_left(left("a")).output == pytest.approx(80 * 100)
    assert estimates.tokens_left(left("b")).output == pytest.approx(300 * 100)


def test_an_adapter_that_was_never_seen_is_taken_to_be_like_its_family() -> None:
    estimates = Estimates()
    estimates.rows_ended(ended("a", 80))
    assert estimates.tokens_left(left("other")).output == pytest.approx(80 * 100)


def test_a_family_that_was_never_seen_uses_as_much_of_its_limit_as_others() -> None:
    estimates = Estimates()
    estimates.rows_ended(ended(length=50, family="other", allowed_tokens=500 * 500))
    assert estimates.tokens_left(left()).output == pytest.approx(50 * 100)


def test_no_more_is_expected_than_is_allowed() -> None:
    estimates = Estimates()
    estimates.rows_ended(ended(length=400))
    assert estimates.tokens_left(left(allowed=64)).output == 64 * 100


def test_the_own_rows_of_a_job_outweigh_what_others_have_shown() -> None:
    estimates = Estimates()
    estimates.rows_ended(ended(length=80))
    told = estimates.tokens_left(left(ended_rows=2_000, ended_completion_tokens=2_000 * 200))
    assert told.output == pytest.approx(200 * 100, rel=0.02)


def test_prompts_are_corrected_by_what_servers_counted() -> None:
    estimates = Estimates()
    assert estimates.tokens_left(left()).prompt == 200 * 100
    estimates.rows_ended(ended(estimated_prompt_tokens=200 * 500))
    assert estimates.tokens_left(left()).prompt == pytest.approx(220 * 100)


def test_the_band_narrows_as_more_is_known() -> None:
    estimates = Estimates()
    sigmas = [estimates.tokens_left(left()).log_sigma]
    estimates.rows_ended(ended(rows=50))
    sigmas.append(estimates.tokens_left(left()).log_sigma)
    sigmas.append(estimates.tokens_left(left(ended_rows=400, ended_completion_tokens=400 * 80)).log_sigma)
    assert sigmas == sorted(sigmas, reverse=True)
    assert sigmas[-1] < sigmas[0] / 2


def test_the_mean_follows_a_change_and_the_spread_is_learned() -> None:
    chance = random.Random(3)
    estimates = Estimates()
    for _ in range(300):
        estimates.rows_ended(ended(length=100 * chance.lognormvariate(0, 0.5), rows=200))
    told = estimates.tokens_left(left(rows=10_000))
    assert 80 < told.output / told.row_count < 160
    assert 0.3 < told.log_sigma < 0.7


def test_rows_that_failed_teach_nothing_and_nothing_left_is_nothing() -> None:
    estimates = Estimates()
    estimates.rows_ended(ended(rows=0))
    assert len(estimates.book) == 0
    nothing = estimates.tokens_left(JobLeft(family="f", rows=()))
    assert (nothing.prompt, nothing.output, nothing.row_count) == (0, 0, 0)
