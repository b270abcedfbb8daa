"""Deadlines as people type them."""

import re
from datetime import datetime, timedelta
from typing import Final

from lorax_batch_server.cli.reporting_group import CommandError

SECONDS_BY_UNIT: Final = {"d": 86_400, "h": 3_600, "m": 60, "s": 1}
SPAN: Final = re.compile(r"(?:\d+(?:\.\d+)?[dhms])+")
SPAN_PART: Final = re.compile(r"(\d+(?:\.\d+)?)([dhms])")


def parse_deadline(text: str) -> timedelta | datetime:
    """Return a time from now (`24h`, `90m`, `1d12h`) or a moment (RFC 3339, with its zone)."""
    if SPAN.fullmatch(text):
        seconds = sum(float(number) * SECONDS_BY_UNIT[unit] for number, unit in SPAN_PART.findall(text))
        if seconds > 0:
            return timedelta(seconds=seconds)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise CommandError(
            f"--deadline: '{text}' is neither a time from now (24h, 90m, 1d12h) "
            "nor a moment with its zone (2030-01-31T18:00:00Z)"
        )
    return moment
