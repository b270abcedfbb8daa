"""What was found of one thing."""

from dataclasses import dataclass
from enum import StrEnum


class Verdict(StrEnum):
    """How it is."""

    OK = "ok"
    WARNING = "warning"
    """It works, but not for long, or not well."""
    ERROR = "error"
    """A service can't work so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was looked at."""

    check: str
    verdict: Verdict
    message: str
    advice: str = ""
    """What to do; "" where nothing is to be done."""


def ok(check: str, message: str) -> Finding:
    """Return that all is well."""
    return Finding(check=check, verdict=Verdict.OK, message=message)


def warning(check: str, message: str, advice: str) -> Finding:
    """Return what should be changed."""
    return Finding(check=check, verdict=Verdict.WARNING, message=message, advice=advice)


def wrong(check: str, message: str, advice: str) -> Finding:
    """Return what must be changed."""
    return Finding(check=check, verdict=Verdict.ERROR, message=message, advice=advice)
