"""Estimates as points in time."""

import math
from datetime import UTC, datetime, timedelta

from lorax_batch_scheduler.estimates import Admission, AdmissionAnswer, Eta
from lorax_batch_scheduler.estimates.told import FAR, is_news, job_admission, job_eta

TIME = datetime(2026, 1, 1, tzinfo=UTC)


def test_seconds_of_the_planner_become_points_in_time_and_none_is_too_far() -> None:
    told = job_eta(Eta(early=110.0, expected=160.0, late=math.inf), now=100.0, time=TIME)
    assert told.early == TIME + timedelta(seconds=10)
    assert told.expected == TIME + timedelta(minutes=1)
    assert told.late == TIME + FAR


def test_an_answer_without_an_end_has_none() -> None:
    found = Admission(answer=AdmissionAnswer.INFEASIBLE, earliest_finish=None, reason="why")
    told = job_admission(found, now=100.0, time=TIME)
    assert (told.answer, told.reason, told.earliest_finish_time) == (AdmissionAnswer.INFEASIBLE, "why", None)


def test_only_what_differs_enough_is_news() -> None:
    told = job_eta(Eta(early=50.0, expected=1000.0, late=2000.0), now=0.0, time=TIME)
    same = job_eta(Eta(early=50.0, expected=1010.0, late=2000.0), now=0.0, time=TIME)
    later = job_eta(Eta(early=50.0, expected=1100.0, late=2000.0), now=0.0, time=TIME)
    assert not is_news(told, same, time=TIME)
    assert is_news(told, later, time=TIME)
    assert is_news(None, told, time=TIME)
    assert is_news(told, None, time=TIME)
    assert not is_news(None, None, time=TIME)
