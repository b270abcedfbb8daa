"""Calls about datasets."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from lorax_batch.v1 import datasets_pb2, datasets_pb2_grpc

from lorax_batch_client.aio.connection import Connection
from lorax_batch_client.dataset import Dataset, OnInvalid
from lorax_batch_client.errors import ClientError, NotFoundError
from lorax_batch_client.requests import dataset_ref, make_request_id
from lorax_batch_client.retry_policy import Patience
from lorax_batch_client.upload import Upload, UploadProgress
from lorax_batch_client.upload_source import UploadInput, open_upload_source


class DatasetCalls(Connection):
    """Datasets in, out and about."""

    @property
    def _datasets(self) -> "datasets_pb2_grpc.DatasetsAsyncStub":
        return datasets_pb2_grpc.DatasetsStub(self._channel)

    async def upload_dataset(
        self,
        source: UploadInput,
        *,
        name: str = "",
        on_invalid: OnInvalid = OnInvalid.FAIL,
        request_id: str = "",
        progress: UploadProgress | None = None,
    ) -> Dataset:
        """Upload a file or rows and return the dataset, which is then being validated.

        A broken connection is made good by going on from what is stored. With the `request_id` of an earlier upload
        (also of another process) that one is gone on with. Rows and pipes pass through a temporary file.
        """
        with contextlib.ExitStack() as stack:
            opened = await asyncio.to_thread(stack.enter_context, open_upload_source(source))
            upload = Upload(
                opened,
                name=name,
                on_invalid=on_invalid,
                request_id=request_id or make_request_id(),
                progress=progress,
            )
            return await self._upload(upload, may_exist=bool(request_id))

    async def _upload(self, upload: Upload, *, may_exist: bool) -> Dataset:
        patience = self._patience()
        while True:
            try:
                status = await self._upload_status(upload) if may_exist else None
                if status is not None and not upload.note_status(status, patience):
                    return await self.get_dataset(status.dataset_id)
                return await self._send(upload, patience)
            except ClientError as error:
                delay = patience.delay_after(upload.note_error(error))
            may_exist = True
            await self._sleep(delay)

    async def _upload_status(self, upload: Upload) -> datasets_pb2.GetUploadStatusResponse | None:
        with contextlib.suppress(NotFoundError):
            return await self._call(lambda: self._datasets.GetUploadStatus, upload.status_request())
        return None

    async def _send(self, upload: Upload, patience: Patience) -> Dataset:
        call = self._datasets.UploadDataset(metadata=self._metadata)
        messages = upload.messages(patience)
        try:
            with self._mapped_errors():
                while (message := await asyncio.to_thread(next, messages, None)) is not None:
                    try:
                        await call.write(message)
                    except asyncio.InvalidStateError:
                        break  # the service has answered already; the answer says why
                else:
                    await call.done_writing()
                answer = await call
        finally:
            call.cancel()
        return upload.check_answer(Dataset.from_proto(answer.dataset))

    async def wait_for_dataset(self, dataset: Dataset | str, *, poll_seconds: float = 0.2) -> Dataset:
        """Return the dataset once it is READY or FAILED."""
        patience = self._patience()
        while True:
            try:
                found = await self.get_dataset(dataset)
                patience.reset()
                if found.state.is_terminal:
                    return found
                delay = poll_seconds
            except ClientError as error:
                delay = patience.delay_after(error)
            await self._sleep(delay)

    async def import_dataset(
        self, path: str, *, name: str = "", on_invalid: OnInvalid = OnInvalid.FAIL, request_id: str = ""
    ) -> Dataset:
        """Make a dataset of what the service can read: an absolute path under one of its import roots, or `s3://...`."""
        request = datasets_pb2.ImportDatasetRequest(
            path=path, name=name, on_invalid=on_invalid.to_proto(), request_id=request_id or make_request_id()
        )
        return Dataset.from_proto((await self._call(lambda: self._datasets.ImportDataset, request)).dataset)

    async def get_dataset(self, dataset: Dataset | str) -> Dataset:
        """Return a dataset by value, id or name: the newest of that name."""
        request = datasets_pb2.GetDatasetRequest(dataset=dataset_ref(dataset))
        return Dataset.from_proto((await self._call(lambda: self._datasets.GetDataset, request)).dataset)

    async def list_datasets(self, *, page_size: int = 0) -> AsyncIterator[Dataset]:
        """Yield all datasets, newest first; further pages are asked for as they are needed."""
        request = datasets_pb2.ListDatasetsRequest(page_size=page_size)
        while True:
            page = await self._call(lambda: self._datasets.ListDatasets, request)
            for message in page.datasets:
                yield Dataset.from_proto(message)
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    async def delete_dataset(self, dataset: Dataset | str) -> None:
        """Delete a dataset with its bytes; jobs that have ended keep their results."""
        await self._call(
            lambda: self._datasets.DeleteDataset, datasets_pb2.DeleteDatasetRequest(dataset_id=dataset_ref(dataset))
        )
