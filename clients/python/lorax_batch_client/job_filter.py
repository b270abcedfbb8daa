"""Which jobs a list or a watch is about."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from lorax_batch.v1 import batch_inference_pb2

from lorax_batch_client.job import JobState


@dataclass(frozen=True, slots=True, kw_only=True)
class JobFilter:
    """Selects jobs that match all that is set."""

    states: tuple[JobState, ...] = ()
    """Any of these. Empty: all states."""
    labels: Mapping[str, str] = field(default_factory=dict)
    """All of these."""
    dataset_id: str = ""
    base_model: str = ""
    """A name or alias of the catalogue."""

    def to_proto(self) -> batch_inference_pb2.JobFilter:
        """Return it as it travels."""
        return batch_inference_pb2.JobFilter(
            states=[state.to_proto() for state in self.states],
            labels=self.labels,
            dataset_id=self.dataset_id,
            base_model=self.base_model,
        )
