"""Opens the object store that a URL names."""

import re
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit

from lorax_batch_scheduler.errors import ConfigurationError
from lorax_batch_scheduler.objects.directory import DirectoryObjectStore
from lorax_batch_scheduler.objects.keys import check_directory
from lorax_batch_scheduler.ports import ObjectStore

_FORMS = (
    "a directory, file:///directory or "
    "s3://bucket/prefix?endpoint=URL&region=NAME&path_style=true|false&silence_s=SECONDS"
)
_SECONDS = re.compile(r"[1-9]\d{0,2}")
_SWITCH = {"true": True, "false": False}


def open_object_store(url: str) -> ObjectStore:
    """Return the store that `url` names, to be used inside `async with`.

    Raises `ConfigurationError` for what names none.
    """
    if "://" not in url:
        if not url:
            raise ConfigurationError(f"the object store's URL is empty; it must be {_FORMS}")
        return DirectoryObjectStore(Path(url).absolute())
    scheme = urlsplit(url).scheme
    if scheme == "file":
        return _directory(url)
    if scheme == "s3":
        return _s3(url)
    raise ConfigurationError(f"object store '{url}': '{scheme}' is not supported; it must be {_FORMS}")


def _directory(url: str) -> ObjectStore:
    parts = urlsplit(url)
    if parts.netloc not in ("", "localhost") or not parts.path or parts.query or parts.fragment:
        raise ConfigurationError(f"object store '{url}' must be file:///directory, with three slashes and no query")
    return DirectoryObjectStore(Path(unquote(parts.path)))


def _s3(url: str) -> ObjectStore:
    parts = urlsplit(url)
    if not parts.netloc or "@" in parts.netloc or ":" in parts.netloc:
        raise ConfigurationError(
            f"object store of s3: '{parts.hostname or ''}' is not a bucket; it must be {_FORMS}. "
            "Credentials come from AWS's own variables, profiles or roles, never from the URL"
        )
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    unknown = options.keys() - {"endpoint", "region", "path_style", "silence_s"}
    if unknown or parts.fragment:
        named = ", ".join(sorted(unknown)) or "#" + parts.fragment
        raise ConfigurationError(f"object store '{url}': '{named}' is not an option; it must be {_FORMS}")
    endpoint = options.get("endpoint")
    if endpoint is not None and urlsplit(endpoint).scheme not in ("http", "https"):
        raise ConfigurationError(f"object store '{url}': endpoint '{endpoint}' must begin with http:// or https://")
    # Self-hosted stores seldom have a host name for each bucket.
    path_style = options.get("path_style", "true" if endpoint else "false")
    if path_style not in _SWITCH:
        raise ConfigurationError(f"object store '{url}': path_style is '{path_style}', but must be true or false")
    prefix = unquote(parts.path).strip("/")
    if prefix:
        prefix += "/"
        check_directory(prefix)

    silence = options.get("silence_s")
    if silence is not None and not _SECONDS.fullmatch(silence):
        raise ConfigurationError(f"object store '{url}': silence_s is '{silence}', but must be seconds, from 1 to 999")

    # aiobotocore takes two seconds to import: only those who use it shall wait.
    from lorax_batch_scheduler.objects.s3 import SILENCE_S, S3Location, S3ObjectStore

    return S3ObjectStore(
        S3Location(
            bucket=parts.netloc,
            prefix=prefix,
            endpoint=endpoint,
            region=options.get("region"),
            path_style=_SWITCH[path_style],
            silence_s=float(silence) if silence else SILENCE_S,
        )
    )
