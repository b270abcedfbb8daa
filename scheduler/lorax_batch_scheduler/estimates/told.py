"""Estimates as they are stored with jobs: from seconds of the planner's clock to points in time."""

from datetime import UTC, datetime, timedelta
from typing import Final

from lorax_batch_scheduler.estimates.admission import Admission
from lorax_batch_scheduler.estimates.eta import Eta
from lorax_batch_scheduler.job import JobAdmission, JobEta

FAR: Final = timedelta(days=3650)
"""Nothing is foretold beyond this."""
NOTICED: Final = 0.05
LEAST_NOTICED: Final = timedelta(seconds=5)
"""An end that moves by less, or by a smaller share of the time to it, is not stored anew."""


def job_admission(found: Admission, *, now: float, time: datetime) -> JobAdmission:
    """Return what is stored of an answer; `now` and `time` are the same moment on both clocks."""
    finish = None if found.earliest_finish is None else _moment(found.earliest_finish, now, time)
    return JobAdmission(answer=found.answer, reason=found.reason, earliest_finish_time=finish)


def job_eta(eta: Eta, *, now: float, time: datetime) -> JobEta:
    """Return what is stored of a band; `now` and `time` are the same moment on both clocks."""
    return JobEta(
        early=_moment(eta.early, now, time),
        expected=_moment(eta.expected, now, time),
        late=_moment(eta.late, now, time),
    )


def is_news(told: JobEta | None, eta: JobEta | None, *, time: datetime) -> bool:
    """Tell whether a band differs enough from the one that callers were told."""
    if told is None or eta is None:
        return told is not eta
    least = max((eta.expected - time) * NOTICED, LEAST_NOTICED)
    pairs = (told.early, eta.early), (told.expected, eta.expected), (told.late, eta.late)
    return any(abs(new - old) > least for old, new in pairs)


def _moment(seconds: float, now: float, time: datetime) -> datetime:
    ahead = min(seconds - now, FAR.total_seconds())
    return (time + timedelta(seconds=ahead)).astimezone(UTC)
