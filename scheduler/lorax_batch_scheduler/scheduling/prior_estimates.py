"""How long things take before anything was measured."""

from typing import Final

from lorax_batch_scheduler.catalogue import Catalogue
from lorax_batch_scheduler.scheduling.job_book import KnownJob

ROW_S: Final = 0.02
"""Slot-seconds of a row: some 50 rows a second, as a 7B model on an A100 does with short answers."""
SETUP_S: Final = 120.0
"""From the start of a server to its first row, with the weights on the node."""


class PriorEstimates:
    """Guesses by the number of rows."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue

    def work_s(self, known: KnownJob, gpu_kind: str) -> float:
        """Return slot-seconds for what is left."""
        counts = known.job.counts
        return max(counts.total - counts.ended, 1) * ROW_S

    def setup_s(self, family: str, base_model_id: str, gpu_kind: str) -> float:
        """Return the seconds of a cold start."""
        return SETUP_S

    def need_bytes(self, base_model_id: str, quantization: str) -> int:
        """Return the memory of the weights; 0: unknown."""
        model = self._catalogue.find(base_model_id)
        return model.weight_bytes if model is not None else 0
