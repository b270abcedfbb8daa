"""The Datasets service: bytes in, datasets listed and deleted."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final

import grpc
import msgspec
import structlog
from lorax_batch.v1 import dataset_pb2, datasets_pb2_grpc
from lorax_batch.v1 import datasets_pb2 as pb
from lorax_batch_scheduler.dataset import Dataset, DatasetState, NewDataset
from lorax_batch_scheduler.errors import ChecksumMismatchError, InvalidInputError, NotFoundError, StateConflictError
from lorax_batch_scheduler.failpoints import failpoint
from lorax_batch_scheduler.ports import DatasetStore, ObjectStore
from lorax_batch_scheduler.removals import Removals
from lorax_batch_scheduler.retention import KEEP_ALL, RetentionPolicy

from lorax_batch_server.caller import current_caller
from lorax_batch_server.checks import MAX_REQUEST_ID_CHARACTERS, Checks, known_id
from lorax_batch_server.dataset_requests import check_import, check_sha256, check_start, too_large
from lorax_batch_server.errors import DatasetInUseError, IdleError
from lorax_batch_server.metrics import ApiMetrics
from lorax_batch_server.storage_allowance import StorageAllowance
from lorax_batch_server.timestamps import timestamp
from lorax_batch_server.trace_metadata import caller_trace
from lorax_batch_server.translate_dataset import STATE_NUMBERS, dataset_message
from lorax_batch_server.upload_checksum import UploadChecksum
from lorax_batch_server.uploads import BeginUpload, DatasetUpload

DEFAULT_PAGE_SIZE: Final = 50
_Context = grpc.aio.ServicerContext[Any, Any]
_Requests = AsyncIterator[pb.UploadDatasetRequest]


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetParts:
    """What the service is made of."""

    datasets: DatasetStore
    objects: ObjectStore
    begin_upload: BeginUpload
    removals: Removals
    metrics: ApiMetrics
    new_id: Callable[[], str]
    resolve_import: Callable[[str, str | None], Awaitable[str]]
    """Returns where the bytes of an import are that a tenant (None: any) may have.

    Raises `NotAllowedError` or `InvalidInputError`."""
    max_dataset_bytes: int
    retention: RetentionPolicy = KEEP_ALL
    upload_idle_s: float = 300.0
    """An upload that sends nothing for so long is ended; it can be continued."""


class DatasetsService(datasets_pb2_grpc.DatasetsServicer):
    """See the contract. Errors are raised as they are; the interceptor gives them their status."""

    def __init__(self, parts: DatasetParts) -> None:
        self._parts = parts
        self._datasets = parts.datasets

    async def UploadDataset(
        self,
        request_iterator: Any,  # noqa: ANN401 - the stub's own type of it is private
        context: _Context,
    ) -> pb.UploadDatasetResponse:
        dataset = await self._upload(request_iterator, caller_trace(context))
        return pb.UploadDatasetResponse(dataset=self._message(dataset))

    async def GetUploadStatus(
        self, request: pb.GetUploadStatusRequest, context: _Context
    ) -> pb.GetUploadStatusResponse:
        dataset = await self._uploaded(request.dataset_id, request.request_id)
        return pb.GetUploadStatusResponse(
            dataset_id=dataset.dataset_id,
            stored_bytes=dataset.stored_bytes,
            state=STATE_NUMBERS[dataset.state],
            update_time=timestamp(dataset.update_time),
        )

    async def ImportDataset(self, request: pb.ImportDatasetRequest, context: _Context) -> pb.ImportDatasetResponse:
        new = check_import(request, new_id=self._parts.new_id(), tenant=current_caller().tenant)
        known = await self._known(new)
        if known is None:
            source = await self._parts.resolve_import(request.path, current_caller().sees)
            # How much it is shows when it is read.
            (await self._datasets.storage(new.tenant)).check(1)
            new = msgspec.structs.replace(new, source_path=source, traceparent=caller_trace(context))
            known = await self._datasets.create_dataset(new)
        return pb.ImportDatasetResponse(dataset=self._message(known))

    async def GetDataset(self, request: pb.GetDatasetRequest, context: _Context) -> pb.GetDatasetResponse:
        return pb.GetDatasetResponse(dataset=self._message(await self._find("dataset", request.dataset)))

    async def ListDatasets(self, request: pb.ListDatasetsRequest, context: _Context) -> pb.ListDatasetsResponse:
        checks = Checks()
        size = checks.page(request.page_size, request.page_token, default=DEFAULT_PAGE_SIZE)
        checks.done()
        page = await self._datasets.list_datasets(
            page_size=size, page_token=request.page_token, tenant=current_caller().sees
        )
        messages = [self._message(dataset, in_full=False) for dataset in page.items]
        return pb.ListDatasetsResponse(datasets=messages, next_page_token=page.next_token)

    async def DeleteDataset(self, request: pb.DeleteDatasetRequest, context: _Context) -> pb.DeleteDatasetResponse:
        dataset_id = (await self._of_id("dataset_id", request.dataset_id)).dataset_id
        try:
            await self._delete(dataset_id)
        except StateConflictError as error:
            raise DatasetInUseError(
                "dataset", dataset_id, error.current, error.expected, "cancel the jobs or wait for them"
            ) from error
        await self._parts.removals.of(dataset_id)
        return pb.DeleteDatasetResponse()

    @failpoint(before="delete.before_dataset", after="delete.after_dataset")
    async def _delete(self, dataset_id: str) -> None:
        await self._datasets.delete_dataset(dataset_id)

    # --- upload ---------------------------------------------------------------------------------------------------

    async def _upload(self, requests: _Requests, traceparent: str) -> Dataset:
        first = await self._next(requests)
        if first is None or first.WhichOneof("part") != "start":
            raise InvalidInputError("start", "must be the first message of an upload")
        start = first.start
        new = check_start(
            start,
            new_id=self._parts.new_id(),
            tenant=current_caller().tenant,
            max_bytes=self._parts.max_dataset_bytes,
        )
        known = await self._complete_already(new)
        if known is not None:
            return known
        dataset = await self._of_id("start.dataset_id", start.dataset_id) if new is None else None
        tenant = dataset.tenant if dataset is not None else current_caller().tenant
        # Before anything is stored: at least a byte will come.
        expected = max(start.total_bytes - start.offset, 1)
        allowance = await StorageAllowance.begin(self._datasets, tenant, expected=expected)
        if dataset is None:
            assert new is not None
            dataset = await self._datasets.create_dataset(msgspec.structs.replace(new, traceparent=traceparent))
        dataset_id = dataset.dataset_id
        structlog.contextvars.bind_contextvars(dataset_id=dataset_id)
        upload = await self._parts.begin_upload(dataset_id, offset=start.offset)
        checksum = UploadChecksum(self._datasets, self._parts.objects, dataset_id, offset=start.offset)
        finished = await self._take_bytes(upload, checksum, allowance, requests, start.offset)
        if finished is not None:
            return finished
        await upload.pause()
        return await self._datasets.get_dataset(dataset_id)

    async def _complete_already(self, new: NewDataset | None) -> Dataset | None:
        """Return the dataset that an earlier call with this `request_id` has uploaded whose answer was lost."""
        if new is None or new.request_id is None:
            return None
        known = await self._known(new)
        return known if known is not None and known.state is not DatasetState.UPLOADING else None

    async def _known(self, new: NewDataset) -> Dataset | None:
        """Return the dataset that an earlier call with this `request_id` has made."""
        if new.request_id is None:
            return None
        return await self._datasets.find_dataset_by_request(new.request_id, tenant=new.tenant)

    async def _find(self, field: str, reference: str) -> Dataset:
        """Return a dataset that the caller sees, by id or name. Raises `NotFoundError`."""
        caller, name = current_caller(), known_id("dataset", field, reference)
        return await self._datasets.get_dataset(name, names_of=caller.tenant, ids_of=caller.sees)

    async def _of_id(self, field: str, dataset_id: str) -> Dataset:
        """Return a dataset that the caller sees, by id alone: one of the caller's may have another's id as its name."""
        dataset = await self._find(field, dataset_id)
        if dataset.dataset_id != dataset_id:
            raise NotFoundError("dataset", dataset_id)
        return dataset

    async def _take_bytes(
        self,
        upload: DatasetUpload,
        checksum: UploadChecksum,
        allowance: StorageAllowance,
        requests: _Requests,
        offset: int,
    ) -> Dataset | None:
        """Return the dataset when the upload was finished, None when the stream ended before."""
        while (request := await self._next(requests)) is not None:
            match request.WhichOneof("part"):
                case "data":
                    offset += len(request.data)
                    if offset > self._parts.max_dataset_bytes:
                        raise InvalidInputError("data", too_large(offset, self._parts.max_dataset_bytes))
                    await allowance.take(len(request.data))
                    await checksum.update(request.data)
                    await upload.write(request.data)
                    self._parts.metrics.received_upload(len(request.data))
                case "finish":
                    sha256 = check_sha256(request.finish.sha256)
                    if await self._next(requests) is not None:
                        raise InvalidInputError("finish", "must be the last message of an upload")
                    return await _finish(upload, checksum, sha256)
                case "start":
                    raise InvalidInputError("start", "must be the first message of an upload, and only the first")
                case _:
                    raise InvalidInputError("part", "is empty: each message is start, data or finish")
        return None

    async def _next(self, requests: _Requests) -> pb.UploadDatasetRequest | None:
        try:
            async with asyncio.timeout(self._parts.upload_idle_s):
                return await anext(requests, None)
        except TimeoutError as error:
            raise IdleError(
                f"the upload sent nothing for {self._parts.upload_idle_s:g} s: ask GetUploadStatus where to go on"
            ) from error

    async def _uploaded(self, dataset_id: str, request_id: str) -> Dataset:
        checks = Checks()
        if bool(dataset_id) == bool(request_id):
            checks.fail("dataset_id", "give either this or request_id")
        checks.text("request_id", request_id, limit=MAX_REQUEST_ID_CHARACTERS)
        checks.done()
        if dataset_id:
            return await self._find("dataset_id", dataset_id)
        found = await self._datasets.find_dataset_by_request(request_id, tenant=current_caller().tenant)
        if found is None:
            raise NotFoundError("upload", request_id)
        return found

    def _message(self, dataset: Dataset, *, in_full: bool = True) -> dataset_pb2.Dataset:
        return dataset_message(dataset, in_full=in_full, retention=self._parts.retention)


async def _finish(upload: DatasetUpload, checksum: UploadChecksum, sha256: str | None) -> Dataset:
    """Hand the dataset to ingest. Raises `ChecksumMismatchError`: ingest finds the same, and makes it FAILED."""
    await upload.pause()
    actual = await checksum.hexdigest() if sha256 is not None else None
    dataset = await upload.finish(sha256)
    if sha256 is not None and actual is not None and sha256 != actual:
        raise ChecksumMismatchError(dataset.dataset_id, sha256, actual)
    return dataset
