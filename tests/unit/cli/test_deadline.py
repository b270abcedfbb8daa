from datetime import UTC, datetime, timedelta

import pytest
from lorax_batch_server.cli.deadline import MAX_SPAN, parse_deadline
from lorax_batch_server.cli.reporting_group import CommandError


@pytest.mark.parametrize(
    ("text", "span"),
    [
        ("24h", timedelta(hours=24)),
        ("90m", timedelta(minutes=90)),
        ("1d12h", timedelta(hours=36)),
        ("1.5h", timedelta(minutes=90)),
        ("30s", timedelta(seconds=30)),
    ],
)
def test_a_span_is_a_time_from_now(text: str, span: timedelta):
    assert parse_deadline(text) == span


@pytest.mark.parametrize("text", ["2030-01-31T18:00:00Z", "2030-01-31T19:00:00+01:00"])
def test_a_moment_keeps_its_zone(text: str):
    assert parse_deadline(text) == datetime(2030, 1, 31, 18, tzinfo=UTC)


@pytest.mark.parametrize("text", ["", "24", "h", "2030-01-31T18:00:00", "tomorrow"])
def test_anything_else_is_refused_by_name(text: str):
    with pytest.raises(CommandError, match=f"'{text}' is neither"):
        parse_deadline(text)


@pytest.mark.parametrize("text", ["0h", "0d0s", "-1h", "-1.5d", "-1d12h"])
def test_a_span_that_is_not_longer_than_nothing_is_refused(text: str):
    with pytest.raises(CommandError, match=f"--deadline: '{text}' is not longer than 0: give a time from now"):
        parse_deadline(text)


def test_a_deadline_is_at_most_a_hundred_years_away() -> None:
    assert parse_deadline(f"{MAX_SPAN.days}d") == MAX_SPAN
    for far in (f"{MAX_SPAN.days}d1s", "99999999999d", "9" * 400 + "d"):
        with pytest.raises(CommandError, match=r"is more than 36,525 days from now: leave it out"):
            parse_deadline(far)
