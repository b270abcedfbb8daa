"""Copies of a job's files in the caller's own bucket, and links to the files."""

import enum
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from google.protobuf.duration_pb2 import Duration
from lorax_batch.v1 import exports_pb2

from lorax_batch_client.job import Job, ResultFile
from lorax_batch_client.result import ResultKind
from lorax_batch_client.timestamps import datetime_from
from lorax_batch_client.watch_cursor import job_id_of


class ExportState(enum.Enum):
    """Where an export stands."""

    WAITING = "waiting"
    """For its job to end, for a process that takes it, or for the bucket to work again."""
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"

    @property
    def is_terminal(self) -> bool:
        """Whether it will not change any more."""
        return self in (ExportState.DONE, ExportState.FAILED)

    @classmethod
    def from_proto(cls, number: int) -> "ExportState":
        """Return the one with that number in the contract; one of a newer service is taken for RUNNING."""
        name = exports_pb2.ExportState.keys()[number] if number < len(exports_pb2.ExportState.keys()) else ""
        return cls.__members__.get(name.removeprefix("EXPORT_STATE_"), cls.RUNNING)


@dataclass(frozen=True, slots=True, kw_only=True)
class Export:
    """A copy of a job's files in a bucket."""

    export_id: str
    job_id: str
    destination: str
    state: ExportState
    reason: str
    written: tuple[str, ...]
    """The files that are complete."""
    create_time: datetime | None
    end_time: datetime | None

    @classmethod
    def from_proto(cls, message: exports_pb2.Export) -> "Export":
        """Return the value of a message."""
        return cls(
            export_id=message.export_id,
            job_id=message.job_id,
            destination=message.destination,
            state=ExportState.from_proto(message.state),
            reason=message.reason,
            written=tuple(message.written),
            create_time=datetime_from(message.create_time),
            end_time=datetime_from(message.end_time),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class DownloadLink:
    """A link to a finished file; whoever has it can read the file."""

    url: str = field(repr=False)
    expire_time: datetime | None
    file: ResultFile

    @classmethod
    def from_proto(cls, message: exports_pb2.CreateDownloadLinkResponse) -> "DownloadLink":
        """Return the value of a message."""
        return cls(
            url=message.url,
            expire_time=datetime_from(message.expire_time),
            file=ResultFile.from_proto(message.file),
        )


def link_request(job: Job | str, kind: ResultKind, lifetime: timedelta | None) -> exports_pb2.CreateDownloadLinkRequest:
    """Return the request for a link; without a lifetime the service's default."""
    request = exports_pb2.CreateDownloadLinkRequest(job_id=job_id_of(job), kind=kind.to_proto())
    if lifetime is not None:
        duration = Duration()
        duration.FromTimedelta(lifetime)
        request.lifetime.CopyFrom(duration)
    return request


def export_id_of(export: Export | str) -> str:
    """Return the id of an export that is given by value or id."""
    return export if isinstance(export, str) else export.export_id
