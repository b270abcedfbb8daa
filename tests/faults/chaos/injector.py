"""Carries out faults, and brings the proof of each: what did not happen must not count."""

import asyncio
import signal
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.faults.chaos.fault import Damage, Fault, FaultKind, Link
from tests.faults.chaos.replica import Replica
from tests.faults.chaos.shared_postgres import postgres_pids, postmaster_pid, signal_all
from tests.faults.chaos.world import World
from tests.faults.proxy import Hits, Proxy

PROCESS_S: Final = 30.0
CONNECTED_S: Final = 5.0
DELAY_S: Final = 0.4
BYTES_PER_S: Final = 20_000.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Injected:
    """A fault that was carried out; times are seconds of the wall clock."""

    fault: Fault
    began: float
    ended: float
    proof: str
    """What was seen of it; empty when nothing was."""


class Injector:
    """Does faults to a world, one at a time."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._ways: dict[FaultKind, Callable[[Fault], Awaitable[str]]] = {
            FaultKind.KILL_SERVICE: self._kill_service,
            FaultKind.FAILPOINT: self._kill_service,
            FaultKind.STOP_SERVICE: self._stop_service,
            FaultKind.FREEZE_SERVICE: self._freeze_service,
            FaultKind.KILL_POSTMASTER: self._kill_postgres,
            FaultKind.KILL_POSTGRES: self._kill_postgres,
            FaultKind.FREEZE_POSTGRES: self._freeze_postgres,
            FaultKind.KILL_SERVER: self._kill_server,
            FaultKind.ABORT_SERVER: self._abort_server,
            FaultKind.SERVER_FAULT: self._disturb_server,
            FaultKind.LINK_FAULT: self._damage_link,
            FaultKind.STORE_ERRORS: self._fail_store,
        }

    async def do(self, fault: Fault) -> Injected:
        """Carry a fault out; return when it is over."""
        began = time.time()
        proof = await self._ways[fault.kind](fault)
        return Injected(fault=fault, began=began, ended=time.time(), proof=proof)

    # --- services ---

    async def _kill_service(self, fault: Fault) -> str:
        replica = self._world.replicas[fault.target]
        if fault.kind is FaultKind.FAILPOINT:
            replica.arm(fault.detail)
        return await self._end(replica, signal.SIGKILL)

    async def _stop_service(self, fault: Fault) -> str:
        return await self._end(self._world.replicas[fault.target], signal.SIGTERM)

    async def _end(self, replica: Replica, number: signal.Signals) -> str:
        lives = len(replica.deaths)
        pid = replica.send(number)
        await _until(lambda: len(replica.deaths) > lives, PROCESS_S)
        death = replica.deaths[lives]
        return f"service {replica.number} (pid {pid or 'of an earlier death'}) ended with {death.code}"

    async def _freeze_service(self, fault: Fault) -> str:
        replica = self._world.replicas[fault.target]
        pid = replica.send(signal.SIGSTOP)
        if not pid:
            return ""
        try:
            await _until(lambda: _state(pid) in "TZ", PROCESS_S)
            state = _state(pid)
            await asyncio.sleep(fault.lasts_s)
        finally:
            replica.send(signal.SIGCONT)
        return f"pid {pid} was in state {state}" if state == "T" else ""

    # --- PostgreSQL ---

    async def _kill_postgres(self, fault: Fault) -> str:
        postmaster = await self._postmaster()
        if not postmaster:
            return ""
        self._world.take_away(2.0)
        whole = fault.kind is FaultKind.KILL_POSTGRES
        killed = signal_all(postgres_pids(postmaster) if whole else [postmaster], signal.SIGKILL)
        await _until(lambda: not Path(f"/proc/{postmaster}").exists() or _state(postmaster) == "Z", PROCESS_S)
        return f"{killed} processes of PostgreSQL {postmaster} are gone"

    async def _freeze_postgres(self, fault: Fault) -> str:
        postmaster = await self._postmaster()
        if not postmaster:
            return ""
        self._world.take_away(fault.lasts_s)
        pids = postgres_pids(postmaster)
        frozen = signal_all(pids, signal.SIGSTOP)
        try:
            await _until(lambda: _state(postmaster) in "TZ", PROCESS_S)
            await asyncio.sleep(fault.lasts_s)
        finally:
            # Also those that a frozen postmaster could not know of.
            signal_all(pids, signal.SIGCONT)
        return f"{frozen} processes of PostgreSQL {postmaster} stood still"

    async def _postmaster(self) -> int:
        """Return its pid; it may be between two lives."""
        await _until(lambda: bool(postmaster_pid(self._world.postgres_directory)), 10.0)
        return postmaster_pid(self._world.postgres_directory)

    # --- LoRAX servers ---

    async def _kill_server(self, fault: Fault) -> str:
        server = self._world.servers[fault.target]
        code = await server.kill()
        return f"server {fault.target} ended with {code}, and is back"

    async def _abort_server(self, fault: Fault) -> str:
        server = self._world.servers[fault.target]
        before = (await server.ask("stats"))["restarts"] if await _listens(server) else 0
        if not await _listens(server):
            return ""
        await server.ask("abort", {})
        return f"server {fault.target} aborted for the {before + 1}. time"

    async def _disturb_server(self, fault: Fault) -> str:
        server = self._world.servers[fault.target]
        name = fault.detail.partition("=")[0]
        if not await _listens(server):
            return ""
        on = (await server.ask("faults", {"on": [fault.detail]}))["faults"]
        try:
            await asyncio.sleep(fault.lasts_s)
        finally:
            # It may have aborted, and refuse connections until it is back.
            await _until_async(lambda: _listens(server), PROCESS_S)
            await server.ask("faults", {"off": [name]})
        return f"server {fault.target} had {on}" if fault.detail in on else ""

    # --- the network and the object store ---

    async def _damage_link(self, fault: Fault) -> str:
        link, damage = fault.detail.split(":")
        proxies = self._world.links[Link(link)]
        proxy = proxies[fault.target % len(proxies)]
        if link != Link.SERVERS:
            self._world.take_away(fault.lasts_s + DELAY_S)
        before = _hits(proxy)
        try:
            # What has just been started may have no connection yet.
            await _until(lambda: _open_links(proxy) > 0, CONNECTED_S)
            await asyncio.to_thread(_damage, proxy, Damage(damage))
            await asyncio.sleep(fault.lasts_s)
        finally:
            await asyncio.to_thread(proxy.heal)
            # A connection that lost bytes is dead for good and nobody says so: as a real network would, in the end.
            if damage == Damage.BLACK_HOLE:
                await asyncio.to_thread(proxy.cut)
        done = {name: count - before[name] for name, count in _hits(proxy).items() if count != before[name]}
        effects = {name: count for name, count in done.items() if name not in ("accepted", "passed_bytes")}
        return f"{proxy.address}: {effects}" if effects else ""

    async def _fail_store(self, fault: Fault) -> str:
        server = self._world.object_server
        if server is None:
            return ""
        self._world.take_away(fault.lasts_s)
        before = await asyncio.to_thread(server.fail_with, int(fault.detail))
        try:
            await asyncio.sleep(fault.lasts_s)
        finally:
            after = await asyncio.to_thread(server.fail_with, 0)
        return f"{after - before} requests got {fault.detail}" if after > before else ""


def _damage(proxy: Proxy, damage: Damage) -> None:
    match damage:
        case Damage.CUT:
            proxy.cut()
        case Damage.REFUSE:
            proxy.refuse()
            proxy.cut()
        case Damage.DELAY:
            proxy.delay(DELAY_S)
        case Damage.THROTTLE:
            proxy.throttle(BYTES_PER_S)
        case Damage.BLACK_HOLE:
            proxy.black_hole()


def _hits(proxy: Proxy) -> dict[str, int]:
    return {name: getattr(proxy.hits, name) for name in Hits.__slots__}


def _open_links(proxy: Proxy) -> int:
    return len(proxy._links)


def _state(pid: int) -> str:
    """Return the state of a process as the kernel's letter; Z when it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "Z"


async def _listens(server: object) -> bool:
    try:
        await server.ask("stats")  # type: ignore[attr-defined]
    except OSError:
        return False
    return True


async def _until(holds: Callable[[], bool], timeout_s: float) -> bool:
    """Return once it holds, or False."""
    ends = time.monotonic() + timeout_s
    while not holds():
        if time.monotonic() > ends:
            return False
        await asyncio.sleep(0.005)
    return True


async def _until_async(holds: Callable[[], Awaitable[bool]], timeout_s: float) -> bool:
    """Return once it holds, or False."""
    ends = time.monotonic() + timeout_s
    while not await holds():
        if time.monotonic() > ends:
            return False
        await asyncio.sleep(0.05)
    return True
