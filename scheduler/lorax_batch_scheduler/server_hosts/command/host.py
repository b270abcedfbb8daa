"""Servers as processes of this host, behind the port of server hosts."""

import asyncio
import random
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Final

import structlog

from lorax_batch_scheduler.clock import Clock
from lorax_batch_scheduler.errors import FleetError, SlotOccupiedError
from lorax_batch_scheduler.fleet import Slot
from lorax_batch_scheduler.launch import Launch
from lorax_batch_scheduler.ports.server_host import LaunchedServer, LaunchState
from lorax_batch_scheduler.server_hosts.command.free_port import free_port, is_free
from lorax_batch_scheduler.server_hosts.command.launch_plan import base_environment, plan_launch
from lorax_batch_scheduler.server_hosts.command.record import RecordFolder, ServerRecord
from lorax_batch_scheduler.server_hosts.command.server import (
    CLEANUP_TIMEOUT_S,
    KILL_WAIT_S,
    CommandServer,
    Surroundings,
)
from lorax_batch_scheduler.server_hosts.command.server_log import ServerLog, remove_old_logs
from lorax_batch_scheduler.server_hosts.command.slot import CommandSlot
from lorax_batch_scheduler.server_hosts.command.state_lock import state_lock

RUNNING_TIMEOUT_S: Final = 10.0
"""How long `start` waits for `run` to have looked at what is there."""
TRIM_INTERVAL_S: Final = 30.0
_log = structlog.get_logger()


class CommandHost:
    """One process a slot.

    *Resources*: while `run` runs, the state directory belongs to this host alone. Records of servers are in
    `servers/` of it, their logs in `logs/`.
    """

    def __init__(
        self, slots: Sequence[CommandSlot], *, state_dir: Path, clock: Clock, chance: random.Random | None = None
    ) -> None:
        """Take the slots as the configuration checked them. `chance` chooses ids and ports."""
        self._slots = {slot.slot_id: slot for slot in slots}
        self._state_dir = state_dir
        self._clock = clock
        self._chance = chance or random.SystemRandom()
        self._servers: dict[str, CommandServer] = {}
        """By slot: its server, or the last one it had."""
        self._leftovers: list[CommandServer] = []
        """Of earlier lives, on no slot of ours: they are being ended."""
        self._group: asyncio.TaskGroup | None = None
        self._adopted = asyncio.Event()
        self._notify: Callable[[], None] = lambda: None
        self._around = Surroundings(
            records=RecordFolder(state_dir / "servers"),
            clock=clock,
            environment=base_environment(),
            on_change=lambda: self._notify(),
        )

    def __repr__(self) -> str:
        running = sum(not server.is_gone for server in self._servers.values())
        return f"CommandHost({len(self._slots)} slots, {running} servers)"

    @property
    def kind(self) -> str:
        """`command`."""
        return "command"

    @property
    def slots(self) -> Sequence[Slot]:
        """The slots of the configuration."""
        return [slot.slot for slot in self._slots.values()]

    @property
    def servers(self) -> Sequence[LaunchedServer]:
        """The server of each slot, or the last one it had."""
        return [server.launched for server in self._servers.values()]

    async def run(self, on_change: Callable[[], None]) -> None:
        """Adopt and end what an earlier life has left, then watch until cancelled; servers then run on.

        Raises:
            ConfigurationError: another process has this state directory.
            OSError: the state directory can't be read or made.
        """
        self._notify = on_change
        with state_lock(self._state_dir):
            try:
                async with asyncio.TaskGroup() as group:
                    self._adopt(await asyncio.to_thread(self._around.records.read), group)
                    self._group = group
                    self._adopted.set()
                    on_change()
                    await self._trim_logs()
            finally:
                self._group = None
                self._adopted.clear()

    async def start(self, slot_id: str, launch: Launch) -> str:
        """Begin to start a server and return its id. Raises `SlotOccupiedError`, `FleetError`."""
        slot = self._slots.get(slot_id)
        if slot is None:
            raise FleetError(f"there is no slot {slot_id} on this host: it has {', '.join(self._slots) or 'none'}")
        group = await self._running()
        # No await from here on: two calls at once see each other's server.
        before = self._servers.get(slot_id)
        if before is not None and not before.is_gone:
            raise SlotOccupiedError(slot_id, before.record.server_id)
        server_id = f"{slot_id}-{self._chance.getrandbits(32):08x}"
        port = self._port(slot)
        master_port = free_port(self._promised_ports() | {port}, self._chance)
        plan = plan_launch(slot, launch, server_id=server_id, port=port, master_port=master_port)
        record = ServerRecord(
            server_id=server_id,
            slot_id=slot_id,
            gpus=slot.gpus,
            share=slot.share,
            family=launch.family,
            model=launch.model,
            port=port,
            master_port=master_port,
            start_time=self._clock.now(),
            grace_s=slot.grace_s,
            stop=plan.stop,
            cleanup=plan.cleanup,
            config=launch.config,
            arguments=launch.arguments,
        )
        log = ServerLog(self._logs, server_id, secret=plan.token)
        server = self._servers[slot_id] = CommandServer(record, log=log, surroundings=self._around)
        group.create_task(server.start(plan.command, plan.environment))
        self._release(server)
        return server_id

    async def stop(self, server_id: str) -> None:
        """Begin to end a server. Unknown ids are ignored."""
        for server in self._servers.values():
            if server.record.server_id == server_id:
                server.ask_to_stop()

    async def close(self) -> None:
        """End all servers, and wait until they are gone; also when `run` has been cancelled already."""
        alive = [server for server in (*self._servers.values(), *self._leftovers) if not server.is_gone]
        for server in alive:
            server.ask_to_stop()
        grace_s = max((slot.grace_s for slot in self._slots.values()), default=0.0)
        try:
            async with asyncio.timeout(grace_s + 2 * KILL_WAIT_S + CLEANUP_TIMEOUT_S), asyncio.TaskGroup() as group:
                for server in alive:
                    group.create_task(server.wait_gone() if self._group is not None else server.run())
        except TimeoutError:
            left = [server.record.server_id for server in alive if not server.is_gone]
            _log.error("servers_not_ended", servers=left)

    async def _running(self) -> asyncio.TaskGroup:
        try:
            async with asyncio.timeout(RUNNING_TIMEOUT_S):
                await self._adopted.wait()
        except TimeoutError:
            raise FleetError(f"{self!r} does not run: its state directory is not open yet, or not any more") from None
        assert self._group is not None
        return self._group

    def _adopt(self, records: Iterable[ServerRecord], group: asyncio.TaskGroup) -> None:
        for record in records:
            log = ServerLog(self._logs, record.server_id)
            server = CommandServer(record, log=log, surroundings=self._around)
            slot = self._slots.get(record.slot_id)
            place_kept = slot is not None and (slot.gpus, slot.share) == (record.gpus, record.share)
            if place_kept and record.slot_id not in self._servers:
                self._servers[record.slot_id] = server
                group.create_task(server.run())
            else:
                self._leftovers.append(server)
                server.ask_to_stop()
                group.create_task(self._end_leftover(server))
            _log.info("server_found", server=record.server_id, slot=record.slot_id, model=record.model, kept=place_kept)

    async def _end_leftover(self, leftover: CommandServer) -> None:
        await leftover.run()
        self._leftovers.remove(leftover)
        for server in self._servers.values():
            self._release(server)

    def _release(self, server: CommandServer) -> None:
        """Let a server start, unless something of an earlier life still has memory of its GPUs."""
        if server.launched.state is not LaunchState.STARTING:
            return
        for leftover in self._leftovers:
            if not set(leftover.record.gpus).isdisjoint(server.record.gpus):
                server.wait_for(f"waits for the end of {leftover.record.server_id}, left by an earlier life")
                return
        server.release()

    def _port(self, slot: CommandSlot) -> int:
        if slot.port is None:
            return free_port(self._promised_ports(), self._chance)
        if slot.port in self._used_ports() or not is_free(slot.port):
            raise FleetError(f"slot {slot.slot_id}: its port {slot.port} is in use: free it, or leave `port` out")
        return slot.port

    def _used_ports(self) -> set[int]:
        records = (server.record for server in self._servers.values() if not server.is_gone)
        return {port for record in records for port in (record.port, record.master_port)}

    def _promised_ports(self) -> set[int]:
        return self._used_ports() | {slot.port for slot in self._slots.values() if slot.port is not None}

    async def _trim_logs(self) -> None:
        while True:
            await self._clock.sleep(TRIM_INTERVAL_S)
            for slot_id, server in list(self._servers.items()):
                try:
                    await asyncio.to_thread(server.trim_log)
                    await asyncio.to_thread(remove_old_logs, self._logs, slot_id)
                except OSError as error:
                    _log.warning("server_log_untrimmed", slot=slot_id, error=str(error))

    @property
    def _logs(self) -> Path:
        return self._state_dir / "logs"
