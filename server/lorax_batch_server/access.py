"""Decides of every call who makes it, and whether it may."""

from collections.abc import Iterable
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Protocol

import structlog
from lorax_batch_scheduler.clock import Clock

from lorax_batch_server.access_rules import NEEDED_ROLES
from lorax_batch_server.api_keys import secret_sha256, sent_secret
from lorax_batch_server.caller import EVERYBODY, Caller
from lorax_batch_server.errors import RoleTooLowError
from lorax_batch_server.key_ring import KeyRing
from lorax_batch_server.request_rates import RequestRates

Metadata = Iterable[tuple[str, str | bytes]]


class Access(Protocol):
    """What the interceptor asks before each call."""

    async def admit(self, method: str, metadata: Metadata) -> Caller:
        """Return who makes a call of a method, given by its full name.

        Raises:
            UnauthenticatedError: nobody knows who.
            RoleTooLowError: the caller may not.
            RateLimitedError: the caller's tenant has to wait.
        """
        ...

    def while_good(self, caller: Caller) -> AbstractAsyncContextManager[None]:
        """Run a stream for as long as its caller may have it. Raises `UnauthenticatedError`."""
        ...


class OpenAccess:
    """Asks for no keys: whoever can connect can do anything."""

    async def admit(self, method: str, metadata: Metadata) -> Caller:
        return EVERYBODY

    def while_good(self, caller: Caller) -> AbstractAsyncContextManager[None]:
        return nullcontext()


class KeyAccess:
    """Asks every call for a key."""

    def __init__(self, ring: KeyRing, clock: Clock) -> None:
        self._ring = ring
        self._rates = RequestRates(clock.monotonic)

    async def admit(self, method: str, metadata: Metadata) -> Caller:
        key = await self._ring.find(secret_sha256(sent_secret(metadata)))
        structlog.contextvars.bind_contextvars(tenant=key.tenant, key_id=key.key_id)
        needed = NEEDED_ROLES.get(method)
        if needed is None or not key.role.allows(needed):
            raise RoleTooLowError(method.rpartition("/")[2], key.role, needed or "that nobody has")
        self._rates.take(key.tenant, self._ring.request_rate(key.tenant))
        return Caller(tenant=key.tenant, role=key.role, key_id=key.key_id)

    def while_good(self, caller: Caller) -> AbstractAsyncContextManager[None]:
        return self._ring.while_good(caller.key_id)
