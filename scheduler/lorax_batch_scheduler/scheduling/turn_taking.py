"""Planning in turns: a scheduler plans when nobody else does, knowing what the others have done."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Final

import structlog

from lorax_batch_scheduler.clock import Clock
from lorax_batch_scheduler.errors import DatabaseError
from lorax_batch_scheduler.ports.planning_turns import PlanningTurn, PlanningTurns
from lorax_batch_scheduler.scheduling.fleet_record import FleetRecord

TURN: Final = timedelta(seconds=8)
"""A plan takes milliseconds, and the start of a server on a remote host a second or two."""
ASK_INTERVAL_S: Final = 0.25

_log = structlog.get_logger()


class TurnTaking:
    """Takes turns with the schedulers of other processes."""

    def __init__(
        self,
        turns: PlanningTurns,
        record: FleetRecord,
        *,
        scheduler_id: Callable[[], str],
        clock: Clock,
        alone: bool,
    ) -> None:
        """`alone`: nobody else can use the database; there is nobody to wait for."""
        self._turns = turns
        self._record = record
        self._scheduler_id = scheduler_id
        self._clock = clock
        self._alone = alone

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[PlanningTurn]:
        """Wait for the turn, and read what others did in theirs; what is done here is told before the turn ends.

        Raises `DatabaseError`.
        """
        if self._alone:
            yield PlanningTurn(foretells=True)
            return
        taken = await self._take()
        try:
            await self._record.read_others()
            yield taken
            await self._record.tell()
        finally:
            await self._end()

    async def _take(self) -> PlanningTurn:
        while True:
            taken = await self._turns.take_turn(self._scheduler_id(), TURN)
            if taken is not None:
                return taken
            await self._clock.sleep(ASK_INTERVAL_S)

    async def _end(self) -> None:
        try:
            await self._turns.end_turn(self._scheduler_id())
        except DatabaseError as error:
            _log.warning("turn_not_ended", error=str(error))
