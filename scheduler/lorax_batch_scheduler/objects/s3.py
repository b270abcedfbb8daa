"""An object store in a bucket of any S3-compatible service."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractContextManager, AsyncExitStack, aclosing, asynccontextmanager
from datetime import timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Self

from botocore.exceptions import ClientError

from lorax_batch_scheduler.errors import ObjectNotFoundError, ObjectStoreError
from lorax_batch_scheduler.objects import keys
from lorax_batch_scheduler.objects.s3_check import check_bucket
from lorax_batch_scheduler.objects.s3_client import s3_client
from lorax_batch_scheduler.objects.s3_download import S3Download
from lorax_batch_scheduler.objects.s3_errors import CONFLICT, s3_errors, status_of
from lorax_batch_scheduler.objects.s3_location import S3Location
from lorax_batch_scheduler.ports import ObjectInfo, UnfinishedUpload, UploadedPart
from lorax_batch_scheduler.tls.client_tls import ClientTls

if TYPE_CHECKING:
    from types_aiobotocore_s3 import S3Client

SLOWEST_BYTES_PER_S = 256 << 10
"""A write gets so much more time for its bytes."""
_CREATE_ROUNDS = 3
_DELETE_BATCH = 1000
_WRITER = "lorax-batch-writer"


class S3ObjectStore:
    """Objects as those of a bucket, below a prefix."""

    def __init__(
        self,
        location: S3Location,
        tls: ClientTls | None = None,
        *,
        new_id: Callable[[], str] = lambda: uuid.uuid4().hex,
        check: bool = True,
    ) -> None:
        """`check`: write and delete a small object when it is opened."""
        self._location = location
        self._tls = tls if tls is not None else ClientTls(settings="object_store")
        self._bucket = location.bucket
        self._new_id = new_id
        self._check = check
        self._stack = AsyncExitStack()
        self._entered: S3Client | None = None

    def __repr__(self) -> str:
        return f"<S3ObjectStore {self._location}>"

    async def put(self, key: str, data: bytes) -> None:
        name = self._name(key)
        async with self._writing(key, data):
            await self._client.put_object(Bucket=self._bucket, Key=name, Body=data)

    async def create(self, key: str, data: bytes) -> bool:
        name, writer = self._name(key), self._new_id()
        for _ in range(_CREATE_ROUNDS):
            async with self._writing(key, data):
                try:
                    await self._client.put_object(
                        Bucket=self._bucket, Key=name, Body=data, IfNoneMatch="*", Metadata={_WRITER: writer}
                    )
                except ClientError as error:
                    if status_of(error) not in CONFLICT:
                        raise
                else:
                    return True
            try:
                # A first attempt whose answer got lost makes botocore's second one lose against ourselves.
                return await self._writer_of(key, name) == writer
            except ObjectNotFoundError:
                continue  # the winner failed, or its object is deleted already
        raise ObjectStoreError(f"'{key}' could not be created: the store keeps reporting a conflict", retryable=True)

    async def get(self, key: str, *, offset: int = 0, length: int | None = None) -> bytes:
        keys.check_range(offset, length)
        if length == 0:
            await self.head(key)
            return b""
        download = self._download(key, offset, length)
        return b"".join([block async for block in download.blocks(keys.LEAST_PART_BYTES)])

    async def stream(self, key: str, *, offset: int = 0, block_bytes: int = 1 << 20) -> AsyncIterator[bytes]:
        keys.check_range(offset, None)
        download = self._download(key, offset)
        async with aclosing(download.blocks(block_bytes)) as blocks:
            async for block in blocks:
                yield block

    async def head(self, key: str) -> ObjectInfo:
        name = self._name(key)
        with self._errors(key):
            answer = await self._client.head_object(Bucket=self._bucket, Key=name)
        return ObjectInfo(key=key, size_bytes=answer["ContentLength"])

    async def delete(self, key: str) -> None:
        name = self._name(key)
        with self._errors(key):
            await self._client.delete_object(Bucket=self._bucket, Key=name)

    async def scan(self, prefix: str, *, after: str = "") -> AsyncIterator[ObjectInfo]:
        keys.check_prefix(prefix)
        skip = len(self._location.prefix)
        pages = self._client.get_paginator("list_objects_v2").paginate(
            Bucket=self._bucket,
            Prefix=self._location.prefix + prefix,
            StartAfter=self._location.prefix + after if after else "",
        )
        with self._errors(prefix):
            async for page in pages:
                for entry in page.get("Contents", ()):
                    yield ObjectInfo(key=entry["Key"][skip:], size_bytes=entry["Size"])

    async def download_url(self, key: str, *, lifetime: timedelta, file_name: str) -> str | None:
        keys.check_link(lifetime, file_name)
        wanted = {
            "Bucket": self._bucket,
            "Key": self._name(key),
            "ResponseContentDisposition": f'attachment; filename="{file_name}"',
        }
        seconds = int(lifetime.total_seconds())
        with self._errors(key):
            if self._location.link_endpoint is None:
                return await self._client.generate_presigned_url("get_object", Params=wanted, ExpiresIn=seconds)
            # A link is signed for the host that it names. Nothing is sent, so a client of its own costs little.
            async with s3_client(self._location, endpoint=self._location.link_endpoint, tls=self._tls) as client:
                return await client.generate_presigned_url("get_object", Params=wanted, ExpiresIn=seconds)

    async def delete_prefix(self, prefix: str, *, keep: str = "") -> int:
        keys.check_kept(prefix, keep)
        for upload in await self.unfinished_uploads(prefix):
            if not keys.is_kept(upload.key, keep):
                await self.abort_upload(upload.key, upload.upload_id)
        deleted, batch = 0, list[str]()
        async for info in self.scan(prefix):
            if keys.is_kept(info.key, keep):
                continue
            batch.append(self._location.prefix + info.key)
            if len(batch) == _DELETE_BATCH:
                deleted += await self._delete_batch(batch)
                batch = []
        return deleted + await self._delete_batch(batch)

    async def start_upload(self, key: str) -> str:
        name = self._name(key)
        with self._errors(key):
            return (await self._client.create_multipart_upload(Bucket=self._bucket, Key=name))["UploadId"]

    async def unfinished_uploads(self, prefix: str) -> list[UnfinishedUpload]:
        keys.check_prefix(prefix)
        skip = len(self._location.prefix)
        pages = self._client.get_paginator("list_multipart_uploads").paginate(
            Bucket=self._bucket, Prefix=self._location.prefix + prefix
        )
        with self._errors(prefix):
            return [
                UnfinishedUpload(key=each["Key"][skip:], upload_id=each["UploadId"])
                async for page in pages
                for each in page.get("Uploads", ())
            ]

    async def upload_part(self, key: str, upload_id: str, number: int, data: bytes) -> UploadedPart:
        keys.check_part_number(number)
        keys.check_upload_id(key, upload_id)
        name = self._name(key)
        async with self._writing(f"{key} (upload {upload_id})", data):
            answer = await self._client.upload_part(
                Bucket=self._bucket, Key=name, UploadId=upload_id, PartNumber=number, Body=data
            )
        return UploadedPart(number=number, size_bytes=len(data), token=answer["ETag"])

    async def complete_upload(self, key: str, upload_id: str, parts: list[UploadedPart]) -> ObjectInfo:
        keys.check_parts(parts)
        made = ObjectInfo(key=key, size_bytes=sum(part.size_bytes for part in parts))
        try:
            await self._complete(key, upload_id, parts)
        except ObjectNotFoundError:
            if not await self._holds(made):
                raise
        except ObjectStoreError as error:
            # Some stores answer 500 for an upload that is completed already, and any answer may get lost.
            if not (error.retryable and await self._holds(made)):
                raise
        else:
            # What some stores say at completion (an empty ETag) is nothing to rely on: the size is.
            found = await self.head(key)
            if found != made:
                raise ObjectStoreError(
                    f"'{key}' has {found.size_bytes} bytes after completion, not {made.size_bytes}", retryable=False
                )
        return made

    async def abort_upload(self, key: str, upload_id: str) -> None:
        name = self._name(key)
        try:
            keys.check_upload_id(key, upload_id)
            with self._errors(key):
                await self._client.abort_multipart_upload(Bucket=self._bucket, Key=name, UploadId=upload_id)
        except ObjectNotFoundError:
            pass

    async def __aenter__(self) -> Self:
        try:
            self._entered = await self._stack.enter_async_context(s3_client(self._location, tls=self._tls))
            if self._check:
                await check_bucket(self._entered, self._location, self._new_id())
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._entered = None
        await self._stack.aclose()

    @property
    def _client(self) -> "S3Client":
        if self._entered is None:
            raise RuntimeError("an S3ObjectStore is used inside `async with`")
        return self._entered

    @asynccontextmanager
    async def _writing(self, key: str, data: bytes) -> AsyncIterator[None]:
        """Map errors, and give up a write that goes nowhere: aiohttp waits for "100 Continue" and for room for ever."""
        patience_s = 2 * self._location.silence_s + len(data) / SLOWEST_BYTES_PER_S
        try:
            with self._errors(key):
                async with asyncio.timeout(patience_s):
                    yield
        except TimeoutError as error:
            raise ObjectStoreError(
                f"S3 did not take the {len(data)} bytes of '{key}' within {patience_s:.0f} s", retryable=True
            ) from error

    def _download(self, key: str, offset: int, length: int | None = None) -> S3Download:
        return S3Download(
            self._client,
            self._bucket,
            self._name(key),
            key,
            offset=offset,
            length=length,
            settings=self._tls.settings,
        )

    def _errors(self, key: str) -> AbstractContextManager[None]:
        return s3_errors(key, settings=self._tls.settings)

    def _name(self, key: str) -> str:
        keys.check_key(key)
        return self._location.prefix + key

    async def _writer_of(self, key: str, name: str) -> str | None:
        with self._errors(key):
            return (await self._client.head_object(Bucket=self._bucket, Key=name))["Metadata"].get(_WRITER)

    async def _complete(self, key: str, upload_id: str, parts: Sequence[UploadedPart]) -> None:
        name = self._name(key)
        keys.check_upload_id(key, upload_id)
        with self._errors(f"{key} (upload {upload_id})"):
            await self._client.complete_multipart_upload(
                Bucket=self._bucket,
                Key=name,
                UploadId=upload_id,
                MultipartUpload={"Parts": [{"PartNumber": part.number, "ETag": part.token} for part in parts]},
            )

    async def _holds(self, wanted: ObjectInfo) -> bool:
        try:
            return await self.head(wanted.key) == wanted
        except ObjectNotFoundError:
            return False

    async def _delete_batch(self, names: Sequence[str]) -> int:
        if not names:
            return 0
        with self._errors(names[0]):
            answer = await self._client.delete_objects(
                Bucket=self._bucket, Delete={"Objects": [{"Key": name} for name in names], "Quiet": True}
            )
        for failed in answer.get("Errors", ()):
            raise ObjectStoreError(f"could not delete '{failed.get('Key')}': {failed.get('Message')}", retryable=True)
        return len(names)
