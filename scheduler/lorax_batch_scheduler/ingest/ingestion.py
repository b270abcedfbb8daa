"""Takes datasets whose bytes are all here, and makes them ready to run."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Final

import msgspec
import structlog

from lorax_batch_scheduler.clock import Clock
from lorax_batch_scheduler.dataset import Dataset, InvalidReport
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
from lorax_batch_scheduler.ingest.imports import is_bucket_uri, read_file, resolve_import
from lorax_batch_scheduler.ingest.limits import IngestLimits
from lorax_batch_scheduler.ingest.outcome import IngestOutcome
from lorax_batch_scheduler.ingest.pack_upload import store_file
from lorax_batch_scheduler.ingest.process import IngestProcessError, ingest_in_process, packs_folder
from lorax_batch_scheduler.object_names import dataset_prefix
from lorax_batch_scheduler.ports import DatasetStore, ObjectStore
from lorax_batch_scheduler.ports.caller_buckets import CallerBuckets
from lorax_batch_scheduler.removals import Removals
from lorax_batch_scheduler.telemetry.caller_span import tell_caller
from lorax_batch_scheduler.telemetry.tally import Tally
from lorax_batch_scheduler.telemetry.tracing import NoTracer, Tracer

_IDLE_WAIT_S: Final = 5.0
"""The poll behind the store's notifications."""
_RETRY_S: Final = 3.0
_MAX_PROCESS_FAILURES: Final = 3

_log = structlog.get_logger()


class Ingestion:
    """The loop that ingests datasets, one at a time; run it as one task.

    A dataset is claimed under the name of a scheduler and is its own while the scheduler's lease lasts. Every attempt
    writes under a prefix of its own, and only `finish_ingest` of the claim's holder makes one of them count: a crash
    at any point costs work and nothing else.

    *Resources*: one child process, and scratch space for the compressed rows of one dataset under `scratch_root`, which
    belongs to this object alone and is emptied when it starts.
    """

    def __init__(
        self,
        datasets: DatasetStore,
        objects: ObjectStore,
        removals: Removals,
        scratch_root: Path,
        *,
        clock: Clock,
        new_id: Callable[[], str],
        scheduler_id: Callable[[], str],
        limits: IngestLimits | None = None,
        import_roots: Sequence[Path] = (),
        tally: Tally | None = None,
        buckets: CallerBuckets | None = None,
        tracer: Tracer | None = None,
    ) -> None:
        self._datasets = datasets
        self._objects = objects
        self._removals = removals
        self._scratch_root = scratch_root
        self._clock = clock
        self._new_id = new_id
        self._scheduler_id = scheduler_id
        self._claimed_by = ""
        """The name that the dataset at hand was claimed under; another one since then means that the claim is lost."""
        self._limits = limits or IngestLimits()
        self._import_roots = import_roots
        self._tally = tally or Tally()
        self._buckets = buckets
        self._tracer = tracer or NoTracer()
        self._not_before: dict[str, float] = {}
        self._process_failures: dict[str, int] = {}

    async def run(self) -> None:
        """Ingest until cancelled; a dataset at hand stays claimed, see `release`."""
        await asyncio.to_thread(self._clear_scratch)
        while True:
            try:
                if await self.ingest_next():
                    continue
                await self._datasets.wait_for_datasets(_IDLE_WAIT_S)
            except (DatabaseError, ObjectStoreError) as error:
                _log.warning("ingest_waits", error=str(error))
                await self._clock.sleep(_RETRY_S)

    async def release(self) -> None:
        """Leave what was begun to other processes; after `run` has ended. Raises `DatabaseError`."""
        await self._datasets.release_datasets(self._claimed_by)

    async def ingest_next(self) -> bool:
        """Ingest the next dataset that nobody else does; False when there is none. Raises `DatabaseError`."""
        now = self._clock.monotonic()
        self._not_before = {key: when for key, when in self._not_before.items() if when > now}
        self._claimed_by = self._scheduler_id()
        dataset = await self._claim(self._claimed_by)
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
            # The claim was lost with the scheduler's lease, or the dataset was deleted meanwhile.
            _log.info("ingest_superseded", dataset_id=dataset_id)
            await self._objects.delete_prefix(prefix)
        except (ObjectStoreError, IngestProcessError, OSError) as error:
            await self._put_off(dataset, prefix, error)
        finally:
            await asyncio.to_thread(shutil.rmtree, scratch, ignore_errors=True)
        return True

    @failpoint(before="ingest.before_claim", after="ingest.after_claim")
    async def _claim(self, scheduler_id: str) -> Dataset | None:
        return await self._datasets.claim_dataset(scheduler_id, list(self._not_before))

    async def _ingest(self, dataset: Dataset, scratch: Path, prefix: str) -> None:
        dataset_id = dataset.dataset_id
        options = IngestOptions(on_invalid=dataset.on_invalid, limits=self._limits_of(dataset))
        try:
            outcome = await ingest_in_process(self._counted(self._bytes(dataset)), scratch, options)
            self._check_sum(dataset, outcome)
        except (InvalidInputError, NotAllowedError, ObjectNotFoundError, ChecksumMismatchError) as error:
            await self._fail(dataset, str(error), None)
            return
        if outcome.reason:
            await self._fail(dataset, outcome.reason, outcome)
            return
        for name in outcome.packs:
            await self._store_pack(prefix + name, packs_folder(scratch) / name)
        await self._finish(dataset_id, outcome, prefix)
        _log.info("dataset_ready", dataset_id=dataset_id, rows=outcome.summary.row_count)
        await self._settled(dataset, "ready", outcome.summary.row_count)

    @failpoint(before="ingest.before_chunk_put", after="ingest.after_chunk_put")
    async def _store_pack(self, key: str, path: Path) -> None:
        await store_file(self._objects, key, path)
        await asyncio.to_thread(path.unlink)

    @failpoint(before="ingest.before_finish", after="ingest.after_finish")
    async def _finish(self, dataset_id: str, outcome: IngestOutcome, prefix: str) -> None:
        await self._datasets.finish_ingest(
            dataset_id, outcome.summary, outcome.chunks, prefix, scheduler_id=self._claimed_by
        )

    @failpoint(before="ingest.before_fail", after="ingest.after_fail")
    async def _fail(self, dataset: Dataset, reason: str, outcome: IngestOutcome | None) -> None:
        dataset_id = dataset.dataset_id
        summary = outcome.summary if outcome else None
        report = summary.invalid if summary else InvalidReport()
        await self._datasets.fail_ingest(dataset_id, reason, report, summary, scheduler_id=self._claimed_by)
        _log.info("dataset_failed", dataset_id=dataset_id, reason=reason)
        await self._settled(dataset, "failed", summary.row_count if summary else 0)

    def _limits_of(self, dataset: Dataset) -> IngestLimits:
        if dataset.max_rows is None or dataset.max_rows >= self._limits.max_lines:
            return self._limits
        way_out = f"split it, or ask an operator for more (quota dataset_rows of tenant '{dataset.tenant}')"
        return msgspec.structs.replace(self._limits, max_lines=dataset.max_rows, lines_way_out=way_out)

    def _check_sum(self, dataset: Dataset, outcome: IngestOutcome) -> None:
        declared, actual = dataset.declared_sha256, outcome.summary.sha256
        if declared is not None and declared.lower() != actual:
            raise ChecksumMismatchError(dataset.dataset_id, declared, actual)

    def _bytes(self, dataset: Dataset) -> AsyncIterator[bytes]:
        if dataset.source_path is None:
            return self._uploaded(dataset.dataset_id)
        if self._buckets is not None and is_bucket_uri(dataset.source_path):
            return self._buckets.read(dataset.source_path)
        return self._imported(dataset)

    async def _counted(self, blocks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        async for block in blocks:
            self._tally.ingested_bytes += len(block)
            yield block

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

    async def _put_off(self, dataset: Dataset, prefix: str, error: LoraxBatchError | OSError) -> None:
        """Try the dataset again later, here or elsewhere; give it up when its process dies again and again."""
        dataset_id = dataset.dataset_id
        _log.warning("ingest_failed", dataset_id=dataset_id, error=str(error))
        self._not_before[dataset_id] = self._clock.monotonic() + _RETRY_S
        if isinstance(error, IngestProcessError) and self._is_hopeless(dataset_id):
            await self._fail(dataset, f"{error} ({_MAX_PROCESS_FAILURES} times)", None)
        else:
            await self.release()
        await self._objects.delete_prefix(prefix)

    def _is_hopeless(self, dataset_id: str) -> bool:
        failures = self._process_failures.pop(dataset_id, 0) + 1
        if failures < _MAX_PROCESS_FAILURES:
            self._process_failures[dataset_id] = failures
        return failures >= _MAX_PROCESS_FAILURES

    async def _settled(self, dataset: Dataset, outcome: str, rows: int) -> None:
        self._process_failures.pop(dataset.dataset_id, None)
        self._tally.ingested(outcome, rows)
        tell_caller(
            self._tracer,
            "ingest",
            dataset.dataset_id,
            dataset.traceparent,
            began=dataset.create_time,
            ended=self._clock.now(),
            attributes={"dataset_id": dataset.dataset_id, "tenant": dataset.tenant, "rows": rows},
            failed=outcome == "failed",
        )
        await self._removals.of(dataset.dataset_id)

    def _clear_scratch(self) -> None:
        shutil.rmtree(self._scratch_root, ignore_errors=True)
        self._scratch_root.mkdir(parents=True, exist_ok=True)
