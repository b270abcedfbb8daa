"""Slots and servers of all schedulers in PostgreSQL."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import Final

import asyncpg
import msgspec

from lorax_batch_scheduler.errors import NotFoundError
from lorax_batch_scheduler.failpoints import failpoint
from lorax_batch_scheduler.fleet import FleetState, QueueStatus, ServerStatus, Slot, SlotStatus
from lorax_batch_scheduler.ports.fleet_store import FleetReport
from lorax_batch_scheduler.postgres.database import Connection, Database
from lorax_batch_scheduler.postgres.listener import Listener
from lorax_batch_scheduler.postgres.statements import SQL
from lorax_batch_scheduler.redaction import REDACTOR

OWNERLESS: Final = "no living scheduler has this slot"


class PostgresFleetStore:
    """See `FleetStore`."""

    def __init__(self, database: Database, listener: Listener) -> None:
        self._database = database
        self._listener = listener

    async def record(self, scheduler_id: str, report: FleetReport) -> None:
        async with self._database.connection() as connection:
            await connection.execute(
                SQL.record_fleet,
                scheduler_id,
                REDACTOR.clean_value(msgspec.to_builtins(report.servers)),
                list(report.server_ids),
                REDACTOR.clean_value(msgspec.to_builtins(report.slots)),
                list(report.slot_ids),
            )

    async def servers(self, *, but_of: str = "") -> list[ServerStatus]:
        async with self._database.connection() as connection:
            return await _servers(connection, but_of)

    async def slots(self, slot_id: str | None = None) -> list[SlotStatus]:
        async with self._database.connection() as connection:
            return await _slots(connection, slot_id)

    async def state(self) -> FleetState:
        async with self._database.connection() as connection, connection.transaction(isolation="repeatable_read"):
            slots, servers = await _slots(connection), await _servers(connection)
            queues = [QueueStatus(**record) for record in await connection.fetch(SQL.queues)]
        return FleetState(
            slots={status.slot.slot_id: status for status in slots},
            servers={status.server_id: status for status in servers},
            queues={status.base_model_id: status for status in queues},
        )

    @failpoint(before="slot.before_drain", after="slot.after_drain")
    async def drain_slot(self, slot_id: str, reason: str) -> SlotStatus:
        return await self._set_drained(SQL.drain_slot, slot_id, reason)

    async def undrain_slot(self, slot_id: str) -> SlotStatus:
        return await self._set_drained(SQL.undrain_slot, slot_id)

    async def drained_slots(self) -> dict[str, str]:
        async with self._database.connection() as connection:
            records = await connection.fetch(SQL.drained_slots)
        return {record["slot_id"]: record["reason"] for record in records}

    def on_change(self, hear: Callable[[], None]) -> Callable[[], None]:
        return self._listener.on_fleet(lambda _: hear())

    def on_drained(self, hear: Callable[[], None]) -> Callable[[], None]:
        # Drains are rare, but the rest of the fleet changes every second with every scheduler: see `drain_slot`.
        return self._listener.on_fleet(lambda who: None if who else hear())

    async def _set_drained(self, statement: str, slot_id: str, *reason: str) -> SlotStatus:
        async with self._database.transaction() as connection:
            known = await connection.fetchrow(statement, slot_id, *reason)
            if known is None:
                raise NotFoundError("slot", slot_id)
            found = await _slots(connection, slot_id)
        # Undrained, and no scheduler has it: this is the last that is told of it.
        return found[0] if found else _ownerless(known["slot"], known["now"])


async def _servers(connection: Connection, but_of: str = "") -> list[ServerStatus]:
    records = await connection.fetch(SQL.servers, but_of)
    return [msgspec.convert(record["status"], ServerStatus) for record in records]


async def _slots(connection: Connection, slot_id: str | None = None) -> list[SlotStatus]:
    return [_slot_status(record) for record in await connection.fetch(SQL.slots, slot_id)]


def _slot_status(record: asyncpg.Record) -> SlotStatus:
    if record["status"] is None:
        status = _ownerless(record["slot"], record["drain_time"])
    else:
        status = msgspec.convert(record["status"], SlotStatus)
    drained = record["drain_time"] is not None
    return replace(status, drained=drained, drain_reason=record["drain_reason"] if drained else "")


def _ownerless(slot: object, since: datetime) -> SlotStatus:
    return SlotStatus(slot=msgspec.convert(slot, Slot), server_ids=(), reason=OWNERLESS, update_time=since)
