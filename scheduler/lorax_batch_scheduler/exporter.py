"""Copies the files of ended jobs into buckets of callers; a copy goes on where a dead process stopped."""

from collections.abc import Callable
from datetime import timedelta
from typing import Final

import structlog

from lorax_batch_scheduler.clock import Clock
from lorax_batch_scheduler.errors import (
    DatabaseError,
    InvalidInputError,
    NotAllowedError,
    NotFoundError,
    ObjectNotFoundError,
    ObjectStoreError,
)
from lorax_batch_scheduler.export import ERRORS_NAME, OUTPUT_NAME, Export, ExportState
from lorax_batch_scheduler.failpoints import failpoint
from lorax_batch_scheduler.job import Job, ResultFile
from lorax_batch_scheduler.ports import JobStore, ObjectStore, UploadedPart
from lorax_batch_scheduler.ports.caller_buckets import CallerBuckets
from lorax_batch_scheduler.ports.export_store import ExportStore
from lorax_batch_scheduler.telemetry.caller_span import tell_caller
from lorax_batch_scheduler.telemetry.tracing import NoTracer, Tracer

PART_BYTES: Final = 8 << 20
POLL_INTERVAL_S: Final = 2.0
FIRST_PAUSE: Final = timedelta(seconds=5)
LONGEST_PAUSE: Final = timedelta(minutes=10)
NEW_UPLOAD_AFTER: Final = 3
"""Tries at one upload without getting further. Some stores answer 500, not 404, when an upload is gone."""
MAX_ATTEMPTS: Final = 40
"""Without getting further: about six hours of a bucket in trouble."""

_log = structlog.get_logger(__name__)


class ClaimLostError(Exception):
    """Another process has taken the export over, or its job was deleted."""


class Exporter:
    """Carries exports out, one at a time; run it as one task."""

    def __init__(
        self,
        store: ExportStore,
        jobs: JobStore,
        objects: ObjectStore,
        buckets: CallerBuckets,
        *,
        scheduler_id: Callable[[], str],
        clock: Clock,
        tracer: Tracer | None = None,
    ) -> None:
        self._store = store
        self._jobs = jobs
        self._objects = objects
        self._buckets = buckets
        self._scheduler_id = scheduler_id
        self._clock = clock
        self._tracer = tracer or NoTracer()

    async def run(self) -> None:
        """Export until cancelled; what is at hand then goes on elsewhere when the scheduler's lease is over."""
        while True:
            try:
                if await self.export_next():
                    continue
            except DatabaseError as error:
                _log.warning("export_waits", error=str(error))
            await self._clock.sleep(POLL_INTERVAL_S)

    async def export_next(self) -> bool:
        """Carry out the next export; False when there is none. Raises `DatabaseError`."""
        claimed_by = self._scheduler_id()
        export = await self._store.claim_export(claimed_by)
        if export is None:
            return False
        try:
            await self._export(export, claimed_by)
        except (ClaimLostError, NotFoundError):
            _log.info("export_superseded", export_id=export.export_id)
        except ObjectStoreError as error:
            await self._put_off(export, claimed_by, error)
        except (NotAllowedError, InvalidInputError, ObjectNotFoundError) as error:
            await self._fail(export, claimed_by, str(error))
            _log.warning("export_failed", export_id=export.export_id, error=str(error))
        return True

    async def _export(self, export: Export, claimed_by: str) -> None:
        job = await self._jobs.get_job(export.job_id)
        files = _files_of(job)
        async with self._buckets.open_destination(export.destination) as destination:
            for name, file in files.items():
                if name not in export.progress.written:
                    copy = _Copy(self._store, self._objects, destination, export, claimed_by)
                    await copy.write(name, file)
        await self._end(export, claimed_by)
        self._tell(export, failed=False)
        _log.info("export_done", export_id=export.export_id, job_id=export.job_id, destination=export.destination)

    @failpoint(after="export.after_end")
    async def _end(self, export: Export, claimed_by: str) -> None:
        await self._store.end_export(export, claimed_by, ExportState.DONE)

    async def _put_off(self, export: Export, claimed_by: str, error: ObjectStoreError) -> None:
        _log.warning("export_delayed", export_id=export.export_id, error=str(error))
        if export.attempts >= MAX_ATTEMPTS:
            reason = f"{error} (at {export.attempts} tries)"
            await self._fail(export, claimed_by, reason)
            return
        pause = min(FIRST_PAUSE * 2 ** min(export.attempts - 1, 10), LONGEST_PAUSE)
        await self._store.put_off_export(export, claimed_by, reason=f"tried again soon: {error}", until=pause)

    async def _fail(self, export: Export, claimed_by: str, reason: str) -> None:
        await self._store.end_export(export, claimed_by, ExportState.FAILED, reason=reason)
        self._tell(export, failed=True)

    def _tell(self, export: Export, *, failed: bool) -> None:
        tell_caller(
            self._tracer,
            "export",
            export.export_id,
            export.traceparent,
            began=export.create_time,
            ended=self._clock.now(),
            attributes={"tenant": export.tenant, "export_id": export.export_id, "job_id": export.job_id},
            failed=failed,
        )


class _Copy:
    """One file on its way; its parts have the same borders in every process that writes it."""

    def __init__(
        self, store: ExportStore, objects: ObjectStore, destination: ObjectStore, export: Export, claimed_by: str
    ) -> None:
        self._store = store
        self._objects = objects
        self._destination = destination
        self._export = export
        self._claimed_by = claimed_by
        self._progress = export.progress

    async def write(self, name: str, file: ResultFile) -> None:
        """Write the whole file, or what is missing of it."""
        if self._progress.file == name and self._export.attempts > NEW_UPLOAD_AFTER:
            await self._destination.abort_upload(name, self._progress.upload_id)
            self._leave_upload()
        try:
            await self._write(name, file)
        except ObjectNotFoundError:
            if self._progress.file != name:
                raise
            # The upload is gone: a lifecycle rule of the bucket, or another process that completed it. Begin anew.
            self._leave_upload()
            await self._write(name, file)
        self._leave_upload()
        self._progress.written.append(name)
        await self._save()

    async def _write(self, name: str, file: ResultFile) -> None:
        if file.byte_count <= PART_BYTES:
            await self._put(name, await self._read(file, 0))
            return
        if self._progress.file != name:
            self._progress.upload_id = await self._destination.start_upload(name)
            self._progress.file = name
            await self._save()
        offset = sum(part.size_bytes for part in self._progress.parts)
        while offset < file.byte_count:
            data = await self._read(file, offset)
            self._progress.parts.append(await self._send(name, data))
            offset += len(data)
            await self._save()
        await self._complete(name)

    def _leave_upload(self) -> None:
        self._progress.file = self._progress.upload_id = ""
        self._progress.parts.clear()

    async def _read(self, file: ResultFile, offset: int) -> bytes:
        length = min(PART_BYTES, file.byte_count - offset)
        if not length:
            return b""
        data = await self._objects.get(file.key, offset=offset, length=length)
        if len(data) != length:
            raise ObjectNotFoundError(f"{file.key} from byte {offset + len(data)} on")
        return data

    @failpoint(after="export.after_put")
    async def _put(self, name: str, data: bytes) -> None:
        await self._destination.put(name, data)

    @failpoint(after="export.after_part")
    async def _send(self, name: str, data: bytes) -> UploadedPart:
        number = len(self._progress.parts) + 1
        return await self._destination.upload_part(name, self._progress.upload_id, number, data)

    @failpoint(after="export.after_complete")
    async def _complete(self, name: str) -> None:
        await self._destination.complete_upload(name, self._progress.upload_id, self._progress.parts)

    async def _save(self) -> None:
        if await self._store.save_export_progress(self._export, self._claimed_by, self._progress):
            return
        if self._progress.upload_id and await self._is_deleted():
            await self._destination.abort_upload(self._progress.file, self._progress.upload_id)
        raise ClaimLostError

    async def _is_deleted(self) -> bool:
        try:
            await self._store.get_export(self._export.export_id)
        except NotFoundError:
            return True
        return False


def _files_of(job: Job) -> dict[str, ResultFile]:
    """Return the files to write by their names. Raises `InvalidInputError` for a job that has none."""
    if job.output_file is None or job.error_file is None:
        raise InvalidInputError("job_id", f"job '{job.job_id}' ended without files: stream its results")
    return {OUTPUT_NAME: job.output_file, ERRORS_NAME: job.error_file}
