"""How long a plan takes for many jobs on many slots."""

import random
import statistics
import time

from lorax_batch_scheduler.packing import (
    ClusterView,
    FamilyView,
    HostedServer,
    HostedState,
    JobView,
    SlotView,
    plan,
)

KINDS = ("a100-80", "h100-80", "l40s-48")
NOW = 100_000.0


def plan_ms(jobs: int = 1000, slots: int = 100, families: int = 12, rounds: int = 21) -> float:
    """Return the median milliseconds of a plan, two thirds of the slots at work."""
    view = _view(jobs, slots, families)
    taken = []
    for _ in range(rounds):
        began = time.perf_counter()
        plan(view)
        taken.append(1000 * (time.perf_counter() - began))
    return statistics.median(taken)


def _view(jobs: int, slots: int, families: int) -> ClusterView:
    chance = random.Random(1)
    return ClusterView(
        now=NOW,
        slots=tuple(_slot(n, f"f{chance.randrange(families)}" if n % 3 else "") for n in range(slots)),
        families=tuple(
            FamilyView(family_id=f"f{n}", need_bytes=20 << 30, setup_s=dict.fromkeys(KINDS, 100.0))
            for n in range(families)
        ),
        jobs=tuple(
            JobView(
                job_id=f"j{n:04}",
                family_id=f"f{chance.randrange(families)}",
                tenant=f"t{n % 20}",
                priority=n % 3,
                arrival=NOW - chance.uniform(0, 10_000),
                work_s={kind: chance.lognormvariate(6, 1) for kind in KINDS},
                deadline=NOW + chance.uniform(100, 20_000) if n % 4 == 0 else None,
            )
            for n in range(jobs)
        ),
    )


def _slot(number: int, family: str) -> SlotView:
    since = NOW - 50 * (number % 40)
    server = HostedServer(
        server_id=f"server{number}", family_id=family, state=HostedState.READY, since=since, ready_at=since
    )
    return SlotView(
        slot_id=f"s{number}",
        kind=KINDS[number % len(KINDS)],
        memory_bytes=48 << 30,
        servers=(server,) if family else (),
    )
