"""What limits a server must have for the rows of each job, by the slots that there are."""

from collections.abc import Callable, Iterable

from lorax_batch_scheduler.catalogue import BaseModel
from lorax_batch_scheduler.fleet import Slot
from lorax_batch_scheduler.launching.row_need import row_need
from lorax_batch_scheduler.scheduling.job_book import KnownJob
from lorax_batch_scheduler.scheduling.job_shape import shape_of


class RowNeeds:
    """Keeps `KnownJob.need` right as jobs and slots come and go."""

    def __init__(self, slots: Callable[[], Iterable[Slot]], model_of: Callable[[str], BaseModel]) -> None:
        """`slots`: those of all schedulers, so that all of them see the same need."""
        self._slots = slots
        self._model_of = model_of
        self._kinds: dict[tuple[int, float], Slot] = {}
        """One startable slot of each size; more are no different here."""
        self._settled: set[str] = set()
        """Jobs whose need is known for these sizes."""

    def refresh(self, jobs: Iterable[KnownJob]) -> None:
        """Set the need of each job whose lengths are known."""
        kinds = {(slot.memory_bytes, slot.gpu_share): slot for slot in self._slots() if not slot.is_fixed}
        if kinds.keys() != self._kinds.keys():
            self._kinds, self._settled = kinds, set()
        known_jobs = {known.job.job_id: known for known in jobs if known.lengths is not None}
        self._settled &= known_jobs.keys()
        for job_id in known_jobs.keys() - self._settled:
            known = known_jobs[job_id]
            config, model = known.job.server_config, self._model_of(known.job.base_model_id)
            known.need = row_need(config, model, self._kinds.values(), shape_of([known]))
            self._settled.add(job_id)
