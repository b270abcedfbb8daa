"""Judges jobs before they are stored: whether they can end by their deadline."""

import asyncio
from collections import Counter
from typing import Final

import structlog

from lorax_batch_scheduler.dataset import Dataset, DatasetState
from lorax_batch_scheduler.estimates import AdapterLeft, Estimates, JobLeft
from lorax_batch_scheduler.job import JobAdmission, NewJob
from lorax_batch_scheduler.packing import JobView
from lorax_batch_scheduler.scheduling.cluster_sight import ClusterSight
from lorax_batch_scheduler.scheduling.forecaster import judge, stored
from lorax_batch_scheduler.scheduling.slot_sight import FamilySeen

PREVIEW: Final = "a new job"
"""Stands for the id of a job that is only checked."""

_log = structlog.get_logger()


class AdmissionDesk:
    """Answers from what the scheduler of this process sees."""

    def __init__(self, sight: ClusterSight, estimates: Estimates) -> None:
        self._sight = sight
        self._estimates = estimates

    async def judge(self, new: NewJob, dataset: Dataset) -> JobAdmission | None:
        """Return what is found of a job that is about to be stored; None when it can't be told now. Never raises."""
        if dataset.state is not DatasetState.READY:
            return None
        try:
            return await self._judge(new, dataset)
        except Exception as error:  # a job is worth more than what can be said of it
            _log.error("admission_failed", dataset=new.dataset_id, error=repr(error), exc_info=error)
            return None

    async def _judge(self, new: NewJob, dataset: Dataset) -> JobAdmission | None:
        sight = self._sight.look_again()
        family = new.server_config.family(new.base_model_id)
        job = JobView(
            job_id=new.job_id or PREVIEW,
            family_id=family,
            tenant=new.tenant,
            priority=new.priority,
            arrival=sight.view.now,
            work_s={},
            deadline=self._sight.moment(new.deadline, sight.view.now),
        )
        seen = FamilySeen(base_model_id=new.base_model_id, quantization=new.server_config.quantization)
        sight, job = self._sight.with_job(sight, job, rows_of(new, dataset, family), seen)
        found = await asyncio.to_thread(judge, sight, job, self._estimates)
        return stored(found, sight) if found is not None else None


def rows_of(new: NewJob, dataset: Dataset, family: str) -> JobLeft:
    """Return the rows of a new job by adapter, its prompt tokens shared out by rows."""
    own = {name.casefold() for name in ("", *new.base_model_aliases)}
    prompt = dataset.prompt_tokens / max(dataset.row_count, 1)
    counts = Counter({count.model: count.row_count for count in dataset.models})
    # Of many models only the first are named.
    counts[""] += max(dataset.row_count - counts.total(), 0)
    return JobLeft(
        family=family,
        rows=tuple(
            AdapterLeft(
                adapter="" if model.casefold() in own else model,
                row_count=row_count,
                prompt_tokens=round(prompt * row_count),
                allowed_tokens=new.default_max_tokens * row_count,
            )
            for model, row_count in counts.items()
            if row_count
        ),
    )
