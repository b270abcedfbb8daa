"""Keeps a scheduler's lease alive, and notices when it was lost."""

from collections.abc import Callable
from datetime import timedelta
from typing import Final

import structlog

from lorax_batch_scheduler.clock import Clock
from lorax_batch_scheduler.errors import DatabaseError
from lorax_batch_scheduler.failpoints import failpoint
from lorax_batch_scheduler.ports.lease_store import LeaseStore

LEASE: Final = timedelta(seconds=15)
RENEWALS_PER_LEASE: Final = 5

_log = structlog.get_logger()


class LeaseKeeper:
    """The name under which this process holds chunks; a lost lease means a new name."""

    def __init__(
        self,
        *,
        leases: LeaseStore,
        new_id: Callable[[], str],
        clock: Clock,
        on_lost: Callable[[], None],
        exclusive: bool,
        lease: timedelta = LEASE,
    ) -> None:
        self._leases = leases
        self._new_id = new_id
        self._clock = clock
        self._on_lost = on_lost
        self._exclusive = exclusive
        self._lease = lease
        self.scheduler_id = new_id()

    async def register(self) -> None:
        """Make this scheduler known."""
        await self._leases.register_scheduler(self.scheduler_id, self._lease, exclusive=self._exclusive)

    async def run(self) -> None:
        """Renew until cancelled. While PostgreSQL is away nothing is committed, so an outdated lease harms nobody."""
        while True:
            await self._clock.sleep(self._lease.total_seconds() / RENEWALS_PER_LEASE)
            try:
                if not await self._renew():
                    await self._come_back()
            except DatabaseError as error:
                _log.warning("lease_not_renewed", scheduler=self.scheduler_id, error=str(error))

    @failpoint(before="lease.before_renew", after="lease.after_renew")
    async def _renew(self) -> bool:
        return await self._leases.renew_scheduler(self.scheduler_id, self._lease)

    async def _come_back(self) -> None:
        """Others may run our chunks by now: begin again under another name, with no chunk."""
        _log.warning("lease_lost", scheduler=self.scheduler_id)
        self.scheduler_id = self._new_id()
        # Before the new name is known: an answer that gets lost must not leave the old leases in use, and no chunk that
        # is leased under the new name may be taken for a lost one.
        self._on_lost()
        await self.register()
