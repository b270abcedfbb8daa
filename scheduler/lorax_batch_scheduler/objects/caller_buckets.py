"""Buckets of callers, in S3-compatible services: only those that settings name, and only below what they name."""

import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import aclosing, asynccontextmanager, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from lorax_batch_scheduler.errors import (
    ConfigurationError,
    InvalidInputError,
    ObjectNotFoundError,
    ObjectStoreError,
)
from lorax_batch_scheduler.objects.allowed_place import AllowedPlace, parse_allowed_place
from lorax_batch_scheduler.objects.s3_location import S3Location
from lorax_batch_scheduler.ports import ObjectStore
from lorax_batch_scheduler.ports.caller_buckets import BucketNotAllowedError, BucketRefusedError
from lorax_batch_scheduler.tls.client_tls import ClientTls

if TYPE_CHECKING:
    from types_aiobotocore_s3 import S3Client

IMPORT_SETTING: Final = "import_buckets"
EXPORT_SETTING: Final = "export_buckets"
MAX_KEY_BYTES: Final = 1_024
"""Of S3."""
TLS_SETTINGS: Final = "bucket"
"""The prefix of those that name files of TLS."""
_SCHEME: Final = "s3://"
_BLOCK_BYTES: Final = 1 << 20


class S3CallerBuckets:
    """See `CallerBuckets`. Credentials are those of the service's own store, or of the profile that a setting names."""

    def __init__(
        self,
        *,
        imports: Sequence[str] = (),
        exports: Sequence[str] = (),
        own: S3Location | None = None,
        tls: ClientTls | None = None,
        others_tls: ClientTls | None = None,
        new_id: Callable[[], str] = lambda: uuid.uuid4().hex,
    ) -> None:
        """`own`: where the service keeps what is its own; `tls`: how that one's endpoint is reached; `others_tls`: how
        others are, its prefix is `TLS_SETTINGS`.

        Raises `ConfigurationError` for a place where callers could read, or write over, what is the service's own.
        """
        self._imports = [_apart(parse_allowed_place(url, what=IMPORT_SETTING), own, IMPORT_SETTING) for url in imports]
        self._exports = [_apart(parse_allowed_place(url, what=EXPORT_SETTING), own, EXPORT_SETTING) for url in exports]
        self._own = own
        self._tls = tls
        self._others_tls = others_tls if others_tls is not None else ClientTls(settings=TLS_SETTINGS)
        self._new_id = new_id

    async def size_of(self, uri: str, *, tenant: str | None = None) -> int:
        location, key = self._find(uri, self._imports, IMPORT_SETTING, tenant)
        if not key or key.endswith("/"):
            raise InvalidInputError("path", f"'{uri}' names no object")
        from lorax_batch_scheduler.objects.s3_errors import s3_errors

        try:
            with _refusals(uri, IMPORT_SETTING), s3_errors(uri, settings=self._tls_to(location).settings):
                async with self._client(location) as client:
                    return (await client.head_object(Bucket=location.bucket, Key=key))["ContentLength"]
        except ObjectNotFoundError as error:
            raise InvalidInputError("path", f"there is no object '{uri}'") from error

    async def read(self, uri: str) -> AsyncIterator[bytes]:
        location, key = self._find(uri, self._imports, IMPORT_SETTING)
        from lorax_batch_scheduler.objects.s3_download import S3Download

        with _refusals(uri, IMPORT_SETTING):
            async with self._client(location) as client:
                download = S3Download(
                    client, location.bucket, key, uri, offset=0, settings=self._tls_to(location).settings
                )
                async with aclosing(download.blocks(_BLOCK_BYTES)) as blocks:
                    async for block in blocks:
                        yield block

    def check_destination(self, uri: str, *, tenant: str | None = None) -> str:
        uri = uri if uri.endswith("/") else f"{uri}/"
        self._find(uri, self._exports, EXPORT_SETTING, tenant)
        return uri

    @asynccontextmanager
    async def open_destination(self, uri: str) -> AsyncIterator[ObjectStore]:
        location, prefix = self._find(uri, self._exports, EXPORT_SETTING)
        from lorax_batch_scheduler.objects.s3 import S3ObjectStore

        with _refusals(uri, EXPORT_SETTING):
            place = replace(location, prefix=prefix)
            async with S3ObjectStore(place, self._tls_to(location), new_id=self._new_id, check=False) as store:
                yield store

    async def find(self, url: str) -> bool:
        """Ask for the bucket of an entry of the settings; return whether we may know that it is there.

        Raises:
            ConfigurationError: it is not, or not so.
            ObjectStoreError: its store can't be reached, or is in trouble.
        """
        location = parse_allowed_place(url, what="bucket").location
        from lorax_batch_scheduler.objects.s3_check import find_bucket

        async with self._client(location) as client:
            return await find_bucket(client, location, settings=self._tls_to(location).settings)

    @asynccontextmanager
    async def _client(self, location: S3Location) -> "AsyncIterator[S3Client]":
        # aiobotocore takes two seconds to import: only those who use it shall wait.
        from lorax_batch_scheduler.objects.s3_client import s3_client

        async with s3_client(location, tls=self._tls_to(location)) as client:
            yield client

    def _tls_to(self, location: S3Location) -> ClientTls:
        """Return the files for an endpoint; the service's own is reached as its store is."""
        is_own = self._own is not None and location.has_endpoint_of(self._own)
        return self._tls if is_own and self._tls is not None else self._others_tls

    def _find(
        self, uri: str, allowed: Sequence[AllowedPlace], setting: str, tenant: str | None = None
    ) -> tuple[S3Location, str]:
        """Return the location that allows a URI, the one that says most of it, and the key that the URI names."""
        bucket, _, key = uri.removeprefix(_SCHEME).partition("/")
        open_to_it = [each.location for each in allowed if each.is_for(tenant)]
        fitting = [each for each in open_to_it if each.bucket == bucket and key.startswith(each.prefix)]
        if not uri.startswith(_SCHEME) or not fitting or not _is_plain(key):
            raise BucketNotAllowedError(uri, setting=setting)
        return max(fitting, key=lambda each: len(each.prefix)), key


def _apart(place: AllowedPlace, own: S3Location | None, setting: str) -> AllowedPlace:
    if own is not None and place.location.overlaps(own):
        raise ConfigurationError(
            f"setting {setting} allows '{place.location}', but the service keeps what is its own, of all callers, in "
            f"'{own}' (--object-store, LORAX_BATCH_OBJECT_STORE): give each a prefix of its own"
        )
    return place


def _is_plain(key: str) -> bool:
    """Tell whether a key means the same all the way: libraries and gateways to files may resolve `..` and `//`."""
    segments = key.removesuffix("/").split("/")
    return (
        len(key.encode(errors="replace")) <= MAX_KEY_BYTES
        and key.isprintable()
        and (not key or not any(segment in ("", ".", "..") for segment in segments))
    )


@contextmanager
def _refusals(uri: str, setting: str) -> Iterator[None]:
    """Tell a caller of what will be no better at a later try: it is for whoever set the bucket up."""
    try:
        yield
    except ConfigurationError as error:
        raise BucketRefusedError(f"{error}; the service's setting is {setting}") from error
    except ObjectStoreError as error:
        if error.retryable:
            raise
        raise BucketRefusedError(
            f"'{uri}': {error}; give the service's credentials (or the profile=NAME of its setting {setting}) the "
            "right to it"
        ) from error
