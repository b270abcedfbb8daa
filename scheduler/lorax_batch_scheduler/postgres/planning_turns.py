"""Turns of planning in PostgreSQL."""

from datetime import timedelta

from lorax_batch_scheduler.failpoints import failpoint
from lorax_batch_scheduler.ports.planning_turns import PlanningTurn
from lorax_batch_scheduler.postgres.database import Database
from lorax_batch_scheduler.postgres.statements import SQL


class PostgresPlanningTurns:
    """See `PlanningTurns`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @failpoint(after="plan.after_take_turn")
    async def take_turn(self, scheduler_id: str, turn: timedelta) -> PlanningTurn | None:
        async with self._database.connection() as connection:
            record = await connection.fetchrow(SQL.take_turn, scheduler_id, turn)
        return None if record is None else PlanningTurn(foretells=record["foretells"])

    @failpoint(before="plan.before_end_turn")
    async def end_turn(self, scheduler_id: str) -> None:
        async with self._database.connection() as connection:
            await connection.execute(SQL.end_turn, scheduler_id)
