"""One run: a world, a load, and the faults of a schedule; then everything is checked."""

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import asyncpg

from tests.faults.chaos.call import ANSWERED, find_repeats
from tests.faults.chaos.door import Door
from tests.faults.chaos.fault import Fault, FaultKind, Topology
from tests.faults.chaos.feed import Feed
from tests.faults.chaos.findings import Findings
from tests.faults.chaos.injector import Injected, Injector, with_failpoints
from tests.faults.chaos.pulse import Pulse
from tests.faults.chaos.recovery import attribute
from tests.faults.chaos.report import Report
from tests.faults.chaos.workload import Workload
from tests.faults.chaos.world import World, open_world
from tests.invariants.database import database_problems

DATABASE_TRIES: Final = 60
PATIENCE_S: Final = 60.0
"""No commit for so long although the fault is over: the services do not recover."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """How much load there is."""

    at_once: int
    most_rows: int
    time_scale: float
    """Real seconds a second of the simulators; at 0.4 rows take some 2 s, as they do on a GPU."""


SHORT: Final = Size(at_once=6, most_rows=80, time_scale=0.1)
LONG: Final = Size(at_once=8, most_rows=250, time_scale=0.4)


async def run(
    topology: Topology,
    seed: int,
    seconds: float,
    faults: Sequence[Fault],
    directory: Path,
    *,
    size: Size,
    tell: Callable[[str], object],
) -> Report:
    """Run and check; every violation is in the report."""
    findings, pulse = Findings(), Pulse()
    began = time.monotonic()
    async with open_world(topology, directory, findings, size.time_scale) as world, AsyncExitStack() as stack:
        door = await stack.enter_async_context(Door(world.targets, findings))
        feeds = [
            Feed(target, f"of all jobs at service {number}", pulse, findings)
            for number, target in enumerate(world.targets)
        ]
        workload = Workload(f"{topology} {seed}", door, findings, at_once=size.at_once, most_rows=size.most_rows)
        async with asyncio.TaskGroup() as group:
            watching = [group.create_task(feed.run()) for feed in feeds]
            working = group.create_task(workload.run())
            injected = await _strike(world, faults, seconds, pulse, findings, tell)
            workload.enough()
            await asyncio.wait([working])
            await workload.check_ends()
            await _check_database(world, findings)
            for task in watching:
                task.cancel()
    calls = [call for server in world.servers for call in server.calls()]
    invented = workload.ledger.answered_keys - {call.key for call in calls if call.status == ANSWERED}
    if invented:
        findings.add(f"{len(invented)} rows have an answer that no server gave: {sorted(invented)[:10]}")
    repeats = find_repeats(calls, dict(workload.ledger.runs))
    deaths = [death for replica in world.replicas for death in replica.deaths]
    injected = with_failpoints(injected, deaths)
    report = Report(
        topology=topology,
        seed=seed,
        seconds=time.monotonic() - began,
        findings=findings,
        ledger=workload.ledger,
        injected=injected,
        deaths=deaths,
        refusals=sum(replica.refusals for replica in world.replicas),
        costs=attribute(calls, repeats, deaths, injected, pulse),
        call_count=len(calls),
        events=sum(feed.check.event_count for feed in feeds),
        committed_rows=pulse.rows,
    )
    for problem in report.problems():
        findings.add(problem)
    return report


async def _strike(
    world: World,
    faults: Sequence[Fault],
    seconds: float,
    pulse: Pulse,
    findings: Findings,
    tell: Callable[[str], object],
) -> list[Injected]:
    """Carry out the faults in their order, each when its time has come and the one before was recovered from."""
    injector, injected = Injector(world), list[Injected]()
    if not await pulse.wait_after(0.0, PATIENCE_S):
        findings.add(f"no row was committed within {PATIENCE_S:g} s of the start")
        return injected
    began = time.monotonic()
    late_s = 0.0
    for fault in faults:
        if not fault.hasty and injected:
            await _recover(injected[-1], pulse, findings)
        now = time.monotonic() - began
        late_s = max(late_s, now - fault.at_s)
        if fault.at_s + late_s > seconds:
            break
        await asyncio.sleep(max(0.0, fault.at_s + late_s - now))
        done = await injector.do(fault)
        injected.append(done)
        seen = done.proof or ("armed" if fault.kind is FaultKind.FAILPOINT else "NO EFFECT")
        tell(f"{time.monotonic() - began:7.2f} s {fault.kind} {fault.target} {fault.detail}: {seen}")
    if injected:
        await _recover(injected[-1], pulse, findings)
    return injected


async def _check_database(world: World, findings: Findings) -> None:
    """Check what no caller sees: that the tables agree with each other."""
    for _ in range(DATABASE_TRIES):
        try:
            for problem in await database_problems(world.replicas[0].dsn):
                findings.add(f"the database: {problem}")
        except (OSError, IndexError, asyncpg.PostgresError):
            await asyncio.sleep(0.5)  # an armed failpoint has just killed its service
        else:
            return
    findings.add("the database could not be read in the end")


async def _recover(last: Injected, pulse: Pulse, findings: Findings) -> None:
    if not await pulse.wait_after(last.ended, PATIENCE_S):
        findings.add(f"no row was committed within {PATIENCE_S:g} s of: {last.fault}")
