"""Carries out faults, and brings the proof of each: what did not happen must not count."""

import asyncio
import signal
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from tests.faults.chaos.fault import Damage, Fault, FaultKind, Link
from tests.faults.chaos.replica import STOP_S, Death, Replica
from tests.faults.chaos.shared_postgres import postgres_pids, postmaster_pid, signal_all
from tests.faults.chaos.simulated_server import SimulatedServer
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
    """What was seen of it; empty when nothing was, and for a failpoint until `with_failpoints` has seen it fire."""


def with_failpoints(injected: Sequence[Injected], deaths: Sequence[Death]) -> list[Injected]:
    """Return all faults, with the proof of those failpoints that killed the life which they were armed in."""
    return [
        replace(one, proof=_fired(one, deaths)) if one.fault.kind is FaultKind.FAILPOINT else one for one in injected
    ]


def _fired(one: Injected, deaths: Sequence[Death]) -> str:
    lives = [death for death in deaths if death.replica == one.fault.target and death.began >= one.began]
    armed = min(lives, key=lambda death: death.began, default=None)
    if armed is None or not armed.failpoint:
        return ""
    return f"service {armed.replica} died at {armed.failpoint}"


class Injector:
    """Does faults to a world, one at a time."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._ways: dict[FaultKind, Callable[[Fault], Awaitable[str]]] = {
            FaultKind.KILL_SERVICE: self._kill_service,
            FaultKind.FAILPOINT: self._arm_failpoint,
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
        return await self._end(self._world.replicas[fault.target], signal.SIGKILL)

    async def _arm_failpoint(self, fault: Fault) -> str:
        replica = self._world.replicas[fault.target]
        replica.arm(fault.detail)
        await self._end(replica, signal.SIGKILL)
        return ""  # this kill only makes room for the life that is armed

    async def _stop_service(self, fault: Fault) -> str:
        return await self._end(self._world.replicas[fault.target], signal.SIGTERM)

    async def _end(self, replica: Replica, number: signal.Signals) -> str:
        lives = len(replica.deaths)
        pid = replica.send(number)
        if not pid or not await _until(lambda: len(replica.deaths) > lives, STOP_S + PROCESS_S):
            return ""
        return f"service {replica.number} (pid {pid}) ended with {replica.deaths[lives].code}"

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
        gone = await _until(lambda: _state(postmaster) == "Z", PROCESS_S)
        return f"{killed} processes of PostgreSQL {postmaster} were killed, it is gone" if killed and gone else ""

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
            state = _state(postmaster)
        finally:
            # Also those that a frozen postmaster could not know of.
            signal_all(pids, signal.SIGCONT)
        return f"{frozen} processes of PostgreSQL {postmaster} were stopped, it stood still" if state == "T" else ""

    async def _postmaster(self) -> int:
        """Return its pid; it may be between two lives."""
        await _until(lambda: bool(postmaster_pid(self._world.postgres_directory)), 10.0)
        return postmaster_pid(self._world.postgres_directory)

    # --- LoRAX servers ---

    async def _kill_server(self, fault: Fault) -> str:
        server = self._world.servers[fault.target]
        code = await server.kill()
        return f"server {fault.target} ended with {code}, and is back" if code == -signal.SIGKILL else ""

    async def _abort_server(self, fault: Fault) -> str:
        server = self._world.servers[fault.target]
        before = await _stats(server)
        if before is None:
            return ""
        await server.ask("abort", {})
        after = await _stats_again(server)
        if after is None or after["restarts"] <= before["restarts"]:
            return ""
        return f"server {fault.target} has restarted {after['restarts']} times, not {before['restarts']}"

    async def _disturb_server(self, fault: Fault) -> str:
        server = self._world.servers[fault.target]
        name = fault.detail.partition("=")[0]
        before = await _stats(server)
        if before is None:
            return ""
        on = (await server.ask("faults", {"on": [fault.detail]}))["faults"]
        try:
            await asyncio.sleep(fault.lasts_s)
        finally:
            # It may have aborted, and refuse connections until it is back.
            after = await _stats_again(server)
            await server.ask("faults", {"off": [name]})
        fired = after["faults_fired"].get(name, 0) - before["faults_fired"].get(name, 0) if after else 0
        return f"server {fault.target} had {on}, it struck {fired} times" if fired else ""

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


async def _stats(server: SimulatedServer) -> dict[str, Any] | None:
    """Return the counts of a server, None while it refuses connections."""
    try:
        stats: dict[str, Any] = await server.ask("stats")
    except OSError:
        return None
    return stats


async def _stats_again(server: SimulatedServer) -> dict[str, Any] | None:
    """Return the counts of a server once it answers, None when it does not."""
    ends = time.monotonic() + PROCESS_S
    while True:
        stats = await _stats(server)
        if stats is not None or time.monotonic() > ends:
            return stats
        await asyncio.sleep(0.05)


async def _until(holds: Callable[[], bool], timeout_s: float) -> bool:
    """Return once it holds, or False."""
    ends = time.monotonic() + timeout_s
    while not holds():
        if time.monotonic() > ends:
            return False
        await asyncio.sleep(0.005)
    return True
