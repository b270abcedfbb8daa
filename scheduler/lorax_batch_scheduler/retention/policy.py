"""How long things are kept, and so when each of them expires."""

from datetime import datetime, timedelta
from typing import Final

import msgspec

from lorax_batch_scheduler.dataset import Dataset, DatasetState
from lorax_batch_scheduler.job import Job

COMPACT_AFTER: Final = timedelta(minutes=10)
UNDELIVERED_AFTER: Final = timedelta(days=5)


class RetentionPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """What is kept for how long; None: for ever."""

    jobs: timedelta | None = None
    """Ended jobs with their results and files, from their end."""
    datasets: timedelta | None = None
    """Datasets, from when no job needs them any more."""
    events: timedelta | None = None
    """State changes; watches that want to go on from an older one begin anew."""
    undelivered: timedelta = UNDELIVERED_AFTER
    """How much longer than `events` state changes are kept that an active webhook has still to tell."""
    segments: timedelta | None = COMPACT_AFTER
    """Results of ended jobs in PostgreSQL beside the files that hold the same: who follows a job reads them there."""

    def job_expires(self, job: Job) -> datetime | None:
        """Return when a job is deleted; None: never, or it has not ended."""
        return job.end_time + self.jobs if self.jobs is not None and job.end_time is not None else None

    def dataset_expires(self, dataset: Dataset) -> datetime | None:
        """Return when a dataset is deleted unless a job uses it before; None: never, or a job uses it now."""
        if self.datasets is None or dataset.unused_since is None or dataset.state is DatasetState.VALIDATING:
            return None
        return dataset.unused_since + self.datasets


KEEP_ALL: Final = RetentionPolicy()
"""Nothing expires."""
