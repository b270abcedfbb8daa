"""Tells callers when their jobs should end, and whether their deadlines can be met."""

import asyncio
from collections.abc import Mapping
from datetime import datetime
from typing import Final

from lorax_batch_scheduler.estimates import Admission, Estimates, admit, etas, is_news, job_admission, job_eta
from lorax_batch_scheduler.job import RUNNABLE_STATES, SETTLING_STATES, Job, JobAdmission, JobEta
from lorax_batch_scheduler.packing import JobView
from lorax_batch_scheduler.ports.job_store import JobStore
from lorax_batch_scheduler.scheduling.cluster_sight import Sight
from lorax_batch_scheduler.scheduling.job_book import JobBook, KnownJob

ADMITTED_AT_ONCE: Final = 20
"""Each answer plays the plan of all jobs two or three times; the others get theirs after the next plan."""


class Forecaster:
    """Stores what was foretold, where it is news."""

    def __init__(self, *, jobs: JobStore, book: JobBook, estimates: Estimates) -> None:
        self._jobs = jobs
        self._book = book
        self._estimates = estimates

    async def tell(self, sight: Sight) -> None:
        """Foretell the ends of all jobs, and judge those that nobody has judged yet. Raises `DatabaseError`."""
        calibration = self._estimates.calibration
        runnable = {known.job.job_id: known for known in self._book.runnable}
        calibration.keep_only(runnable)
        found = {
            job_id: job_eta(eta, now=sight.view.now, time=sight.time)
            for job_id, eta in etas(
                sight.view, sight.outlook, fractions=sight.fractions, calibration=calibration
            ).items()
        }
        await self._jobs.foretell_jobs(self._news(found, sight.time))
        new = [view for view in sight.view.jobs if _awaits_answer(runnable.get(view.job_id))]
        answers = await asyncio.to_thread(self._admit, sight, new[:ADMITTED_AT_ONCE])
        await self._jobs.admit_jobs(
            {job_id: stored(answer, sight) for job_id, answer in answers.items() if answer is not None}
        )

    def _news(self, found: Mapping[str, JobEta], time: datetime) -> dict[str, JobEta | None]:
        news: dict[str, JobEta | None] = {}
        for known in self._book:
            job = known.job
            if job.state in SETTLING_STATES:
                continue
            eta = found.get(job.job_id) if job.state in RUNNABLE_STATES else None
            if is_news(_told(job), eta, time=time):
                news[job.job_id] = eta
        return news

    def _admit(self, sight: Sight, new: list[JobView]) -> dict[str, Admission | None]:
        return {view.job_id: judge(sight, view, self._estimates) for view in new}


def judge(sight: Sight, job: JobView, estimates: Estimates) -> Admission | None:
    """Return whether a job can end in time; None while some fixed server has not said what it hosts.

    Reads nothing that changes: to be called in a thread.
    """
    found = admit(sight.view, job, sight.outlook, edges=estimates.calibration.edges(0.0))
    unknown = any(slot.fixed and not slot.servers for slot in sight.view.slots)
    return None if found.earliest_finish is None and unknown else found


def stored(found: Admission, sight: Sight) -> JobAdmission:
    """Return an answer as callers see it."""
    told = job_admission(found, now=sight.view.now, time=sight.time)
    return JobAdmission(
        answer=told.answer, reason=sight.readable(told.reason), earliest_finish_time=told.earliest_finish_time
    )


def _awaits_answer(known: KnownJob | None) -> bool:
    return known is not None and known.job.admission is None


def _told(job: Job) -> JobEta | None:
    if job.eta is None:
        return None
    return JobEta(early=job.eta_early or job.eta, expected=job.eta, late=job.eta_late or job.eta)
