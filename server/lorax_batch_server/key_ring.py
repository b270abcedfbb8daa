"""All keys in memory, so that a call costs no query; changes come with a notification, and a poll behind it."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Final

import structlog
from lorax_batch_scheduler.clock import Clock
from lorax_batch_scheduler.errors import DatabaseError
from lorax_batch_scheduler.ports import AccessStore
from lorax_batch_scheduler.tenant import AccessTable, ApiKey

from lorax_batch_server.errors import (
    KeyExpiredError,
    KeyRevokedError,
    KeyUnknownError,
    TenantDisabledError,
    UnauthenticatedError,
)
from lorax_batch_server.open_calls import OpenCalls
from lorax_batch_server.shared_reads import SharedReads

POLL_S: Final = 2.0
"""How late the streams of an expired key end, and of a revoked one whose notification was missed."""

_log = structlog.get_logger(__name__)


class KeyRing:
    """The keys of all tenants. `run` is its one task; the owner keeps it alive while calls are served.

    While PostgreSQL is out of reach, keys stay as they were last read: calls are refused then for other reasons.
    """

    def __init__(self, store: AccessStore, clock: Clock, *, poll_s: float = POLL_S) -> None:
        self._store = store
        self._clock = clock
        self._poll_s = poll_s
        self._table = AccessTable(version=0, keys={}, request_rates={})
        self._by_id: dict[str, ApiKey] = {}
        self._streams: dict[str, OpenCalls] = {}
        """Open streams by key id."""
        self._wake = asyncio.Event()
        # Whoever comes with an unknown key, however often, takes no more than one connection.
        self._reads = SharedReads[str, AccessTable](self._read)

    async def run(self) -> None:
        """Follow changes, and end the streams of keys that are no longer good, until cancelled."""
        stop_listening = self._store.on_change(self._wake.set)
        try:
            while True:
                try:
                    await self._refresh()
                except DatabaseError as error:
                    _log.warning("keys_not_read", error=str(error))
                self._end_streams()
                await self._wait()
        finally:
            stop_listening()

    async def find(self, secret_sha256: bytes) -> ApiKey:
        """Return the key of a secret. Raises `UnauthenticatedError`, `DatabaseError`."""
        key = self._table.keys.get(secret_sha256)
        if key is None:
            # Perhaps it was made a moment ago at another process.
            await self._refresh()
            key = self._table.keys.get(secret_sha256)
        if key is None:
            raise KeyUnknownError(KeyUnknownError.__doc__)
        fault = self._fault(key, self._clock.now())
        if fault is not None:
            raise fault
        return key

    def request_rate(self, tenant: str) -> float | None:
        """Return how many requests a second a tenant may make; None: any number."""
        return self._table.request_rates.get(tenant)

    @asynccontextmanager
    async def while_good(self, key_id: str) -> AsyncIterator[None]:
        """Run a stream of a key's, and cut it off when the key is no longer good.

        Raises:
            UnauthenticatedError: it is not any more.
        """
        calls = self._streams.setdefault(key_id, OpenCalls())
        try:
            async with calls.endable(lambda: self._why_ended(key_id)):
                yield
        finally:
            if not calls.any_open:
                self._streams.pop(key_id, None)

    async def _refresh(self) -> None:
        table = await self._reads.get("")
        assert table is not None
        if table.version > self._table.version:
            self._table = table
            self._by_id = {key.key_id: key for key in table.keys.values()}

    async def _read(self, asked: Sequence[str]) -> Mapping[str, AccessTable]:
        if await self._store.access_version() == self._table.version:
            return dict.fromkeys(asked, self._table)
        return dict.fromkeys(asked, await self._store.access_table())

    def _end_streams(self) -> None:
        now = self._clock.now()
        for key_id, calls in self._streams.items():
            if self._fault_of(key_id, now) is not None:
                calls.end()

    def _why_ended(self, key_id: str) -> UnauthenticatedError:
        return self._fault_of(key_id, self._clock.now()) or KeyUnknownError(KeyUnknownError.__doc__)

    def _fault_of(self, key_id: str, now: datetime) -> UnauthenticatedError | None:
        key = self._by_id.get(key_id)
        return self._fault(key, now) if key is not None else KeyUnknownError(KeyUnknownError.__doc__)

    def _fault(self, key: ApiKey, now: datetime) -> UnauthenticatedError | None:
        """Return why a key is not good; None: it is."""
        if key.revoke_time is not None:
            return KeyRevokedError(key.key_id, key.revoke_time)
        if key.expire_time is not None and key.expire_time <= now:
            return KeyExpiredError(key.key_id, key.expire_time)
        return TenantDisabledError(key.tenant) if key.tenant in self._table.disabled else None

    async def _wait(self) -> None:
        try:
            async with asyncio.timeout(self._poll_s):
                await self._wake.wait()
        except TimeoutError:
            pass
        self._wake.clear()
