"""Deadlines as people type them."""

import re
from datetime import datetime, timedelta
from typing import Final

from lorax_batch_server.cli.reporting_group import CommandError

SECONDS_BY_UNIT: Final = {"d": 86_400, "h": 3_600, "m": 60, "s": 1}
MAX_SPAN: Final = timedelta(days=36_525)
SHOWN_CHARACTERS: Final = 60
NO_SPAN: Final = re.compile(r"-(?:\d+(?:\.\d+)?[dhms])+|(?:0+(?:\.0+)?[dhms])+")
SPAN: Final = re.compile(r"(?:\d+(?:\.\d+)?[dhms])+")
SPAN_PART: Final = re.compile(r"(\d+(?:\.\d+)?)([dhms])")


def parse_deadline(text: str) -> timedelta | datetime:
    """Return a time from now (`24h`, `90m`, `1d12h`) or a moment (RFC 3339, with its zone)."""
    return parse_span(text, option="--deadline", sense="from now")


def parse_span(text: str, *, option: str, sense: str) -> timedelta | datetime:
    """Return a length of time or a moment, as an option gives it; `sense` is what the length counts: "from now"."""
    if SPAN.fullmatch(text):
        seconds = sum(float(number) * SECONDS_BY_UNIT[unit] for number, unit in SPAN_PART.findall(text))
        if seconds > MAX_SPAN.total_seconds():
            shown = text if len(text) <= SHOWN_CHARACTERS else text[:SHOWN_CHARACTERS] + "..."
            raise CommandError(f"{option}: '{shown}' is more than {MAX_SPAN.days:,} days {sense}: leave it out")
        if seconds > 0:
            return timedelta(seconds=seconds)
    if NO_SPAN.fullmatch(text):
        raise CommandError(f"{option}: '{text}' is not longer than 0: give a time {sense} like 24h, 90m or 1d12h")
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise CommandError(
            f"{option}: '{text}' is neither a time {sense} (24h, 90m, 1d12h) "
            "nor a moment with its zone (2030-01-31T18:00:00Z)"
        )
    return moment
