"""Keeps a scheduler's lease alive, and notices when it was lost or may be."""

import math
from collections.abc import Callable
from datetime import timedelta
from typing import Final

import structlog

from lorax_batch_scheduler.clock import Clock
from lorax_batch_scheduler.errors import DatabaseError
from lorax_batch_scheduler.failpoints import failpoint
from lorax_batch_scheduler.ports.lease_store import LeaseStore

LEASE: Final = timedelta(seconds=6)
"""A dead scheduler is noticed between 0.8 and 1.2 of it after its death, so within 8 s. Longer than PostgreSQL takes to
roll back a transaction of a frozen process (`IDLE_TRANSACTION_S`): whoever takes over finds no lock of it."""
RENEWALS_PER_LEASE: Final = 5
PATIENT_RENEWALS: Final = 2
"""For as many intervals a renewal may take: one on a connection that died in silence leaves time for another one."""
LEAST_PATIENCE_S: Final = 2.0

_log = structlog.get_logger()


class LeaseKeeper:
    """The name under which this process holds chunks and datasets; a lost lease means a new name."""

    def __init__(
        self,
        *,
        leases: LeaseStore,
        new_id: Callable[[], str],
        clock: Clock,
        exclusive: bool,
        lease: timedelta = LEASE,
    ) -> None:
        self._leases = leases
        self._new_id = new_id
        self._clock = clock
        self._on_lost: list[Callable[[], None]] = []
        self._exclusive = exclusive
        self._lease = lease
        self.scheduler_id = new_id()
        self.sure_until = math.inf if exclusive else -math.inf
        """Monotonic seconds: behind it others may have declared this scheduler dead, and run its chunks."""

    def on_lost(self, forget: Callable[[], None]) -> None:
        """Call `forget` whenever the lease was lost: what was claimed under the old name is not ours any more."""
        self._on_lost.append(forget)

    async def register(self) -> None:
        """Make this scheduler known."""
        asked_at = self._clock.monotonic()
        await self._leases.register_scheduler(self.scheduler_id, self._lease, exclusive=self._exclusive)
        self._granted(asked_at)

    async def run(self) -> None:
        """Renew until cancelled. An outdated lease harms no result: what fences them is the epochs of the chunks."""
        interval_s = self._lease.total_seconds() / RENEWALS_PER_LEASE
        # Nobody takes the lease of an exclusive one, which may also run on a fast clock.
        patience = PATIENT_RENEWALS if not self._exclusive else 10 * RENEWALS_PER_LEASE
        patience_s = max(patience * interval_s, LEAST_PATIENCE_S)
        while True:
            await self._clock.sleep(interval_s)
            try:
                asked_at = self._clock.monotonic()
                async with self._clock.timeout(patience_s):
                    renewed = await self._renew()
                if renewed:
                    self._granted(asked_at)
                else:
                    await self._come_back()
            except TimeoutError:
                error = f"PostgreSQL did not answer within {patience_s:g} s"
                _log.warning("lease_not_renewed", scheduler=self.scheduler_id, error=error)
            except DatabaseError as error:
                _log.warning("lease_not_renewed", scheduler=self.scheduler_id, error=str(error))

    @failpoint(before="lease.before_renew", after="lease.after_renew")
    async def _renew(self) -> bool:
        return await self._leases.renew_scheduler(self.scheduler_id, self._lease)

    async def _come_back(self) -> None:
        """Others may run our chunks by now: begin again under another name, with no chunk."""
        _log.warning("lease_lost", scheduler=self.scheduler_id)
        # First, while nothing can be claimed under either name: what is claimed later is not lost.
        for forget in self._on_lost:
            forget()
        self.scheduler_id = self._new_id()
        await self.register()

    def _granted(self, asked_at: float) -> None:
        """The database counts from when it was asked, or a little later: never believe in more than it grants."""
        if not self._exclusive:
            self.sure_until = asked_at + self._lease.total_seconds()
