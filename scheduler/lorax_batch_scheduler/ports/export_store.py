"""Exports as they are kept."""

from datetime import timedelta
from typing import Protocol

from lorax_batch_scheduler.export import Export, ExportProgress, ExportState


class ExportStore(Protocol):
    """Exports and who is at them. Raises `DatabaseError` when out of reach."""

    async def create_export(
        self, export_id: str, *, job_id: str, destination: str, request_id: str | None, traceparent: str = ""
    ) -> Export:
        """Store an export, or return the one of this `request_id`. Raises `NotFoundError` for an unknown job."""
        ...

    async def get_export(self, export_id: str) -> Export:
        """Return an export. Raises `NotFoundError`."""
        ...

    async def exports_of(self, job_id: str, *, limit: int) -> list[Export]:
        """Return a job's exports, the newest first."""
        ...

    async def claim_export(self, scheduler_id: str) -> Export | None:
        """Return the next export of an ended job to carry out; it is the scheduler's while its lease lasts."""
        ...

    async def save_export_progress(self, export: Export, scheduler_id: str, progress: ExportProgress) -> bool:
        """Note how far it has come; False when the claim was lost."""
        ...

    async def put_off_export(self, export: Export, scheduler_id: str, *, reason: str, until: timedelta) -> None:
        """Have it tried again after that time."""
        ...

    async def end_export(self, export: Export, scheduler_id: str, state: ExportState, *, reason: str = "") -> None:
        """Bring it to its end; nothing when the claim was lost."""
        ...
