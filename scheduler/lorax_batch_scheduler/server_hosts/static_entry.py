"""`[[static]]` of a fleet file: a server at a fixed URL."""

import hashlib
from typing import Annotated
from urllib.parse import urlsplit

import msgspec

from lorax_batch_scheduler.errors import ConfigurationError
from lorax_batch_scheduler.fleet import Slot
from lorax_batch_scheduler.lorax_servers.address import ServerAddress
from lorax_batch_scheduler.server_hosts.fleet_entry import read_entry


class _StaticEntry(msgspec.Struct, frozen=True, kw_only=True):
    url: Annotated[str, msgspec.Meta(max_length=2_000)]
    model: Annotated[str, msgspec.Meta(min_length=1, max_length=200)] | None = None
    gpu_kind: Annotated[str, msgspec.Meta(max_length=63)] = ""
    max_in_flight: Annotated[int, msgspec.Meta(ge=1, le=10_000)] | None = None


def read_static_slot(raw: object, where: str) -> Slot:
    """Return the slot that an entry describes. Raises `ConfigurationError`."""
    entry = read_entry(raw, _StaticEntry, where)
    url = entry.url.strip().rstrip("/")
    _check_url(url, f"{where}: url")
    return Slot(
        # The same URL is the same slot after a restart, and the one that `--server URL` names.
        slot_id=f"slot_{hashlib.sha256(url.encode()).hexdigest()[:12]}",
        kind="static",
        url=url,
        gpu_kind=entry.gpu_kind,
        declared_model=entry.model,
        max_in_flight=entry.max_in_flight,
    )


def _check_url(url: str, where: str) -> None:
    if not url.isprintable() or " " in url:
        raise ConfigurationError(f"{where}: holds white space or control characters")
    try:
        parts = urlsplit(url)
        if parts.username or parts.password:
            raise ConfigurationError(f"{where}: holds a user name or a password, which would end up in logs")
        ServerAddress.from_url(url)
    except ValueError as error:
        raise ConfigurationError(f"{where}: '{url}': {error}") from error
    except ConfigurationError as error:
        raise error if str(error).startswith(where) else ConfigurationError(f"{where}: {error}") from error
    if parts.query or parts.fragment:
        raise ConfigurationError(f"{where}: '{url}' has a query or a fragment: give the server's base URL")
