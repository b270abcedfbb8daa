"""Copies of a job's files in a bucket of the caller's."""

from datetime import datetime
from enum import StrEnum
from typing import Final

import msgspec

from lorax_batch_scheduler.ports.object_store import UploadedPart
from lorax_batch_scheduler.tenant import DEFAULT_TENANT

OUTPUT_NAME: Final = "output.jsonl"
ERRORS_NAME: Final = "errors.jsonl"


class ExportState(StrEnum):
    """Where an export stands."""

    WAITING = "WAITING"
    """For its job to end, for a process, or for the bucket to work again."""
    RUNNING = "RUNNING"
    DONE = "DONE"
    FAILED = "FAILED"

    @property
    def terminal(self) -> bool:
        """Whether it will not change any more."""
        return self in (ExportState.DONE, ExportState.FAILED)


class ExportProgress(msgspec.Struct, kw_only=True):
    """How far an export has come."""

    written: list[str] = []
    """The files that are there."""
    file: str = ""
    """The one that is being written in parts."""
    upload_id: str = ""
    parts: list[UploadedPart] = []


class Export(msgspec.Struct, frozen=True, kw_only=True):
    """One export."""

    export_id: str
    job_id: str
    destination: str
    """`s3://BUCKET/PREFIX/`."""
    state: ExportState
    reason: str
    attempts: int
    """Since it last got further."""
    progress: ExportProgress
    create_time: datetime
    end_time: datetime | None
    traceparent: str = ""
    """Of the call that made it, as it came; "": there was none."""
    tenant: str = DEFAULT_TENANT
    """Of its job; told to who carries it out."""
