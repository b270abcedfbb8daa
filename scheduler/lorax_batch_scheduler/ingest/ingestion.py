"""Takes datasets whose bytes are all here, and makes them ready to run."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Final

import structlog

from lorax_batch_scheduler.clock import Clock
from lorax_batch_scheduler.dataset import Dataset, DatasetState, InvalidReport
from lorax_batch_scheduler.errors import (
    ChecksumMismatchError,
    DatabaseError,
    InvalidInputError,
    LoraxBatchError,
    NotAllowedError,
    NotFoundError,
    ObjectNotFoundError,
    ObjectStoreError,
    StateConflictError,
)
from lorax_batch_scheduler.failpoints import failpoint
from lorax_batch_scheduler.ingest.child import IngestOptions
from lorax_batch_scheduler.ingest.imports import read_file, resolve_import
from lorax_batch_scheduler.ingest.limits import IngestLimits
from lorax_batch_scheduler.ingest.outcome import IngestOutcome
from lorax_batch_scheduler.ingest.pack_upload import store_file
from lorax_batch_scheduler.ingest.process import IngestProcessError, ingest_in_process, packs_folder
from lorax_batch_scheduler.ingest.uploads import uploads_prefix
from lorax_batch_scheduler.ports import DatasetStore, ObjectStore

_IDLE_WAIT_S: Final = 5.0
"""The poll behind the store's notifications."""
_RETRY_S: Final = 3.0
_MAX_PROCESS_FAILURES: Final = 3

_log = structlog.get_logger()


def dataset_prefix(dataset_id: str) -> str:
    """Return where everything of a checked dataset lies in the object store."""
    return f"datasets/{dataset_id}/"


class Ingestion:
    """The loop that ingests datasets, one at a time; run it as one task.

    Every attempt writes under a prefix of its own, and only `finish_ingest` makes one of them count: a crash at any
    point, or another process at the same dataset, costs work and nothing else.

    *Resources*: one child process, and scratch space for the compressed rows of one dataset under `scratch_root`, which
    belongs to this object alone and is emptied when it starts.
    """

    def __init__(
        self,
        datasets: DatasetStore,
        objects: ObjectStore,
        scratch_root: Path,
        *,
        clock: Clock,
        new_id: Callable[[], str],
        limits: IngestLimits | None = None,
        import_roots: Sequence[Path] = (),
    ) -> None:
        self._datasets = datasets
        self._objects = objects
        self._scratch_root = scratch_root
        self._clock = clock
        self._new_id = new_id
        self._limits = limits or IngestLimits()
        self._import_roots = import_roots
        self._not_before: dict[str, float] = {}
        self._process_failures: dict[str, int] = {}

    async def run(self) -> None:
        """Ingest until cancelled."""
        await asyncio.to_thread(self._clear_scratch)
        swept = False
        while True:
            try:
                if not swept:
                    await self.sweep()
                    swept = True
                if await self.ingest_next():
                    continue
                await self._datasets.wait_for_datasets(_IDLE_WAIT_S)
            except (DatabaseError, ObjectStoreError) as error:
                _log.warning("ingest_waits", error=str(error))
                await self._clock.sleep(_RETRY_S)

    async def ingest_next(self) -> bool:
        """Ingest the oldest dataset that waits; False when none does. Raises `DatabaseError`."""
        now = self._clock.monotonic()
        self._not_before = {key: when for key, when in self._not_before.items() if when > now}
        dataset = await self._datasets.next_dataset_to_ingest(list(self._not_before))
        if dataset is None:
            return False
        dataset_id = dataset.dataset_id
        attempt = self._new_id()
        scratch = self._scratch_root / attempt
        prefix = f"{dataset_prefix(dataset_id)}{attempt}/"
        try:
            await asyncio.to_thread(scratch.mkdir, parents=True)
            await self._ingest(dataset, scratch, prefix)
        except (StateConflictError, NotFoundError):
            # Another process was faster, or the dataset was deleted meanwhile.
            _log.info("ingest_superseded", dataset_id=dataset_id)
            await self._objects.delete_prefix(prefix)
        except (ObjectStoreError, IngestProcessError, OSError) as error:
            await self._put_off(dataset_id, prefix, error)
        finally:
            await asyncio.to_thread(shutil.rmtree, scratch, ignore_errors=True)
        return True

    async def sweep(self) -> None:
        """Delete what earlier runs left behind of datasets whose fate is decided."""
        async for dataset_id in self._stored_ids("uploads/"):
            dataset = await self._decided(dataset_id)
            if dataset is not None:
                await self._delete_upload(dataset_id)
        async for dataset_id in self._stored_ids("datasets/"):
            dataset = await self._decided(dataset_id)
            if dataset is not None:
                await self._delete_other_attempts(dataset_id, dataset.storage_prefix)

    async def _ingest(self, dataset: Dataset, scratch: Path, prefix: str) -> None:
        dataset_id = dataset.dataset_id
        options = IngestOptions(on_invalid=dataset.on_invalid, limits=self._limits)
        try:
            outcome = await ingest_in_process(self._bytes(dataset), scratch, options)
            self._check_sum(dataset, outcome)
        except (InvalidInputError, NotAllowedError, ObjectNotFoundError, ChecksumMismatchError) as error:
            await self._fail(dataset_id, str(error), None)
            return
        if outcome.reason:
            await self._fail(dataset_id, outcome.reason, outcome)
            return
        for name in outcome.packs:
            await self._store_pack(prefix + name, packs_folder(scratch) / name)
        await self._finish(dataset_id, outcome, prefix)
        _log.info("dataset_ready", dataset_id=dataset_id, rows=outcome.summary.row_count)
        await self._tidy(dataset_id, prefix)

    @failpoint(before="ingest.before_chunk_put", after="ingest.after_chunk_put")
    async def _store_pack(self, key: str, path: Path) -> None:
        await store_file(self._objects, key, path)
        await asyncio.to_thread(path.unlink)

    @failpoint(before="ingest.before_finish", after="ingest.after_finish")
    async def _finish(self, dataset_id: str, outcome: IngestOutcome, prefix: str) -> None:
        await self._datasets.finish_ingest(dataset_id, outcome.summary, outcome.chunks, prefix)

    @failpoint(before="ingest.before_fail", after="ingest.after_fail")
    async def _fail(self, dataset_id: str, reason: str, outcome: IngestOutcome | None) -> None:
        summary = outcome.summary if outcome else None
        await self._datasets.fail_ingest(dataset_id, reason, summary.invalid if summary else InvalidReport(), summary)
        _log.info("dataset_failed", dataset_id=dataset_id, reason=reason)
        await self._tidy(dataset_id, "")

    def _check_sum(self, dataset: Dataset, outcome: IngestOutcome) -> None:
        declared, actual = dataset.declared_sha256, outcome.summary.sha256
        if declared is not None and declared.lower() != actual:
            raise ChecksumMismatchError(dataset.dataset_id, declared, actual)

    def _bytes(self, dataset: Dataset) -> AsyncIterator[bytes]:
        return self._uploaded(dataset.dataset_id) if dataset.source_path is None else self._imported(dataset)

    async def _uploaded(self, dataset_id: str) -> AsyncIterator[bytes]:
        expected = 0
        for part in await self._datasets.upload_parts(dataset_id):
            if part.first_byte != expected:
                message = f"bytes {expected} to {part.first_byte} of '{dataset_id}' are not stored: upload it again"
                raise InvalidInputError("data", message)
            expected += part.byte_count
            async for block in self._objects.stream(part.key):
                yield block

    async def _imported(self, dataset: Dataset) -> AsyncIterator[bytes]:
        assert dataset.source_path is not None
        path = await asyncio.to_thread(resolve_import, dataset.source_path, self._import_roots)
        try:
            async for block in read_file(path):
                yield block
        except OSError as error:
            message = f"'{dataset.source_path}' can't be read: {error.strerror or error}"
            raise InvalidInputError("path", message) from error

    async def _put_off(self, dataset_id: str, prefix: str, error: LoraxBatchError | OSError) -> None:
        """Try the dataset again later; give it up when its process dies again and again."""
        _log.warning("ingest_failed", dataset_id=dataset_id, error=str(error))
        self._not_before[dataset_id] = self._clock.monotonic() + _RETRY_S
        await self._objects.delete_prefix(prefix)
        if isinstance(error, IngestProcessError):
            failures = self._process_failures.get(dataset_id, 0) + 1
            self._process_failures[dataset_id] = failures
            if failures >= _MAX_PROCESS_FAILURES:
                del self._process_failures[dataset_id]
                await self._fail(dataset_id, f"{error} ({failures} times)", None)

    async def _tidy(self, dataset_id: str, kept_prefix: str) -> None:
        """Delete the upload and what other attempts left. A crash before the end of this is mended by `sweep`."""
        self._process_failures.pop(dataset_id, None)
        await self._delete_upload(dataset_id)
        await self._delete_other_attempts(dataset_id, kept_prefix)

    @failpoint(before="ingest.before_upload_deleted", after="ingest.after_upload_deleted")
    async def _delete_upload(self, dataset_id: str) -> None:
        # In this order: what a crash leaves lies in the object store, where `sweep` looks.
        await self._forget_parts(dataset_id)
        await self._objects.delete_prefix(uploads_prefix(dataset_id))

    @failpoint(after="ingest.after_parts_forgotten")
    async def _forget_parts(self, dataset_id: str) -> None:
        await self._datasets.forget_upload_parts(dataset_id)

    @failpoint(after="ingest.after_attempts_deleted")
    async def _delete_other_attempts(self, dataset_id: str, kept_prefix: str) -> None:
        prefix = dataset_prefix(dataset_id)
        async for attempt in self._stored_ids(prefix):
            if f"{prefix}{attempt}/" != kept_prefix:
                await self._objects.delete_prefix(f"{prefix}{attempt}/")

    async def _decided(self, dataset_id: str) -> Dataset | None:
        """Return a dataset that is READY or FAILED. Those we do not know are not ours to touch."""
        try:
            dataset = await self._datasets.get_dataset(dataset_id)
        except NotFoundError:
            return None
        decided = dataset.state in (DatasetState.READY, DatasetState.FAILED)
        return dataset if decided and dataset.dataset_id == dataset_id else None

    async def _stored_ids(self, prefix: str) -> AsyncIterator[str]:
        """Yield the distinct names that stand behind a prefix in the object store."""
        last = ""
        async for info in self._objects.scan(prefix):
            name = info.key[len(prefix) :].split("/", 1)[0]
            if name != last:
                last = name
                yield name

    def _clear_scratch(self) -> None:
        shutil.rmtree(self._scratch_root, ignore_errors=True)
        self._scratch_root.mkdir(parents=True, exist_ok=True)
