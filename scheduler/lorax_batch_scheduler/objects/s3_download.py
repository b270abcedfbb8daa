"""Reading an object of S3, going on where a connection broke."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from lorax_batch_scheduler.errors import ObjectStoreError
from lorax_batch_scheduler.objects.s3_errors import BROKEN_BODY, RANGE_PAST_END, s3_errors, status_of

if TYPE_CHECKING:
    from aiobotocore.response import StreamingBody
    from types_aiobotocore_s3 import S3Client
    from types_aiobotocore_s3.type_defs import GetObjectOutputTypeDef

_BREAKS = 3
"""How often in a row a body may break off without a byte of progress."""


class S3Download:
    """One range of an object. botocore repeats a request, but not the reading of a body: that is done here."""

    def __init__(
        self,
        client: "S3Client",
        bucket: str,
        name: str,
        key: str,
        *,
        offset: int,
        length: int | None = None,
        settings: str = "object_store",
    ) -> None:
        """`settings`: see `s3_errors`."""
        self._client = client
        self._bucket = bucket
        self._name = name
        self._key = key
        self._offset = offset
        self._end = None if length is None else offset + length
        self._settings = settings
        self._version: str | None = None

    async def blocks(self, block_bytes: int) -> AsyncGenerator[bytes]:
        """Yield blocks of that size, the last one smaller; nothing when the range begins past the object's end."""
        breaks = 0
        with s3_errors(self._key, settings=self._settings):
            while (answer := await self._request()) is not None:
                before = self._offset
                try:
                    async with answer["Body"] as body, aclosing(self._read(body, block_bytes)) as blocks:
                        async for block in blocks:
                            yield block
                except BROKEN_BODY:
                    breaks = 1 if self._offset > before else breaks + 1
                    if breaks > _BREAKS:
                        raise
                else:
                    return

    async def _read(self, body: "StreamingBody", block_bytes: int) -> AsyncGenerator[bytes]:
        block = bytearray()
        while piece := await body.read(block_bytes - len(block)):
            block += piece
            if len(block) == block_bytes:
                self._offset += block_bytes
                yield bytes(block)
                block.clear()
        if block:
            self._offset += len(block)
            yield bytes(block)

    async def _request(self) -> "GetObjectOutputTypeDef | None":
        """Ask for the rest of the range; None when there is none."""
        if self._end is not None and self._offset >= self._end:
            return None
        last = "" if self._end is None else self._end - 1
        try:
            answer = await self._client.get_object(
                Bucket=self._bucket, Key=self._name, Range=f"bytes={self._offset}-{last}"
            )
        except ClientError as error:
            if status_of(error) == RANGE_PAST_END:
                return None
            raise
        if self._version not in (None, answer["ETag"]):
            answer["Body"].close()
            raise ObjectStoreError(f"'{self._key}' was written anew while it was read", retryable=True)
        self._version = answer["ETag"]
        return answer
