"""Notices within seconds when PostgreSQL does not answer, or takes no writes, and when it does again."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import asyncpg
import structlog

from lorax_batch_scheduler.errors import DatabaseError
from lorax_batch_scheduler.postgres.database import Connection, Database, database_errors
from lorax_batch_scheduler.postgres.statements import SQL

INTERVAL_S: Final = 1.0
RECONNECT_INTERVAL_S: Final = 0.25
LATE_ANSWERS_S: Final = 1.0
"""How long what was sent before an outage may still be answered after it; a process that was frozen answers at once."""

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseState:
    """What PostgreSQL can do now."""

    answers: bool
    trouble: str = ""
    """What is wrong, for people; "" while all is well."""


WELL: Final = DatabaseState(answers=True)
READ_ONLY: Final = DatabaseState(
    answers=True, trouble="PostgreSQL takes no writes: it is read-only (default_transaction_read_only, or a standby)"
)


OnChange = Callable[[DatabaseState], Awaitable[None]]


class DatabaseWatch:
    """Asks over a connection of its own, so that no busy pool and no slow statement hides what it asks for.

    Frozen processes, black holes and full disks don't break connections: without this, whoever waits for an answer
    learns of them only when its statement times out.
    """

    def __init__(
        self, database: Database, *, timeout: timedelta, on_change: OnChange, on_time: Callable[[datetime], None]
    ) -> None:
        self._database = database
        self._timeout_s = timeout.total_seconds()
        self._on_change = on_change
        self._on_time = on_time
        self._state = WELL
        self._last_answer_at = asyncio.get_running_loop().time()

    async def run(self) -> None:
        """Ask until cancelled."""
        while True:
            try:
                with database_errors():
                    await self._ask_on_one_connection()
            except (DatabaseError, asyncpg.PostgresError) as error:
                why = str(error) if str(error) != "TimeoutError()" else f"no answer within {self._timeout_s:g} s"
                await self._tell(DatabaseState(answers=False, trouble=f"PostgreSQL is out of reach: {why}"))
            await asyncio.sleep(RECONNECT_INTERVAL_S)

    async def _ask_on_one_connection(self) -> None:
        connection = await asyncpg.connect(
            self._database.dsn,
            ssl=self._database.tls,
            timeout=self._timeout_s,
            command_timeout=self._timeout_s,
            server_settings={"application_name": "lorax-batch watch"},
        )
        try:
            while True:
                asked_at = asyncio.get_running_loop().time()
                answer = await connection.fetchrow(SQL.watch)
                assert answer is not None
                self._on_time(answer["now"])
                await self._answered(READ_ONLY if answer["read_only"] else WELL, asked_at)
                await asyncio.sleep(INTERVAL_S)
        finally:
            connection.terminate()

    async def _answered(self, state: DatabaseState, asked_at: float) -> None:
        was_away = not self._state.answers
        await self._tell(state)
        self._last_answer_at = asked_at
        if was_away:
            await self._database.come_back(asked_at, patience_s=LATE_ANSWERS_S)

    async def _tell(self, state: DatabaseState) -> None:
        before, self._state = self._state, state
        if state == before:
            return
        if state.trouble and state.answers == before.answers and before.trouble:
            return  # the same trouble in other words
        await self._on_change(state)
        if state.trouble:
            _log.error("database_trouble", error=state.trouble)
        else:
            seconds = asyncio.get_running_loop().time() - self._last_answer_at
            _log.warning("database_back", after_s=round(seconds, 1))


async def database_time(connection: Connection) -> datetime:
    """Return what the database's clock shows."""
    now: datetime = await connection.fetchval(SQL.watch)
    return now
