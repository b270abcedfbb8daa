"""What a replay asks its policy."""

from typing import Protocol

from lorax_batch_scheduler.packing.cluster import ClusterView, PlaceAction


class Policy(Protocol):
    """Decides which family each slot hosts and whose rows its servers take."""

    name: str
    grouped: bool
    """Rows are given out by adapter; else in the order of the dataset."""

    shares: bool
    """The servers of a family share its jobs: one without rows takes some that wait on another."""

    def plan(self, view: ClusterView) -> list[PlaceAction]:
        """Return what to do now."""
        ...

    def may_serve(self, server_id: str, slot_id: str, job_id: str) -> bool:
        """Tell whether a server may take rows of a job of its family."""
        ...
