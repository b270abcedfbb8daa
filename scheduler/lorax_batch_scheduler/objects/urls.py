"""Opens the object store that a URL names."""

from pathlib import Path
from urllib.parse import unquote, urlsplit

from lorax_batch_scheduler.errors import ConfigurationError
from lorax_batch_scheduler.objects.directory import DirectoryObjectStore
from lorax_batch_scheduler.objects.keys import check_directory
from lorax_batch_scheduler.objects.s3_location import S3_FORM, parse_s3_location
from lorax_batch_scheduler.ports import ObjectStore
from lorax_batch_scheduler.tls.client_tls import ClientTls

_FORMS = f"a directory, file:///directory or {S3_FORM}"


def open_object_store(url: str, *, tls: ClientTls | None = None) -> ObjectStore:
    """Return the store that `url` names, to be used inside `async with`; `tls` is how S3 is reached.

    Raises `ConfigurationError` for what names none.
    """
    if tls and not url.startswith("s3://"):
        raise ConfigurationError(
            f"{tls.first_setting} is set, but object store '{url}' is a directory: leave {tls.first_setting} out"
        )
    if "://" not in url:
        if not url:
            raise ConfigurationError(f"the object store's URL is empty; it must be {_FORMS}")
        return DirectoryObjectStore(Path(url).absolute())
    scheme = urlsplit(url).scheme
    if scheme == "file":
        return _directory(url)
    if scheme == "s3":
        return _s3(url, tls)
    raise ConfigurationError(f"object store '{url}': '{scheme}' is not supported; it must be {_FORMS}")


def directory_of(url: str) -> Path | None:
    """Return the directory that a URL names; None for S3, and for what names nothing."""
    if "://" not in url:
        return Path(url).absolute() if url else None
    parts = urlsplit(url)
    return Path(unquote(parts.path)) if parts.scheme == "file" else None


def _directory(url: str) -> ObjectStore:
    parts = urlsplit(url)
    if parts.netloc not in ("", "localhost") or not parts.path or parts.query or parts.fragment:
        raise ConfigurationError(f"object store '{url}' must be file:///directory, with three slashes and no query")
    return DirectoryObjectStore(Path(unquote(parts.path)))


def _s3(url: str, tls: ClientTls | None) -> ObjectStore:
    location = parse_s3_location(url, what="object store")
    if tls and location.endpoint is not None and location.endpoint.startswith("http://"):
        raise ConfigurationError(
            f"{tls.first_setting} is set, but endpoint={location.endpoint} of the object store goes without TLS: give "
            f"an endpoint with https://, or leave {tls.first_setting} out"
        )
    if location.prefix:
        check_directory(location.prefix)

    # aiobotocore takes two seconds to import: only those who use it shall wait.
    from lorax_batch_scheduler.objects.s3 import S3ObjectStore

    return S3ObjectStore(location, tls)
