"""The faults of a run: a pure function of seed, length and topology, so that a seed that failed can be run again."""

import random
from collections.abc import Mapping, Sequence
from typing import Final

from tests.faults.chaos.fault import Damage, Fault, FaultKind, Link, Topology

SERVICES: Final = {Topology.EMBEDDED: 1, Topology.SHARED: 2}
SERVERS: Final = 3
LEASE_S: Final = 3.0
FIRST_S: Final = 2.0
GAP_S: Final = (0.2, 2.4)
HASTY_GAP_S: Final = (0.05, 1.8)
HASTY_SHARE: Final = 0.12
LONGEST_S: Final = 8.0
"""No fault lasts longer, so that none forbids all progress for ever."""

_ANYWHERE: Final = {
    FaultKind.KILL_SERVICE: 46,
    FaultKind.FAILPOINT: 18,
    FaultKind.STOP_SERVICE: 7,
    FaultKind.KILL_POSTMASTER: 3,
    FaultKind.KILL_POSTGRES: 4,
    FaultKind.FREEZE_POSTGRES: 2,
    FaultKind.KILL_SERVER: 6,
    FaultKind.ABORT_SERVER: 3,
    FaultKind.SERVER_FAULT: 5,
    FaultKind.FREEZE_SERVICE: 2,
}
_WEIGHTS: Final[Mapping[Topology, Mapping[FaultKind, int]]] = {
    Topology.EMBEDDED: _ANYWHERE,
    Topology.SHARED: {**_ANYWHERE, FaultKind.FREEZE_SERVICE: 6, FaultKind.LINK_FAULT: 14, FaultKind.STORE_ERRORS: 4},
}
_LASTS_S: Final = {
    FaultKind.FREEZE_POSTGRES: (0.5, 5.0),
    FaultKind.FREEZE_SERVICE: (LEASE_S + 1.0, LEASE_S + 3.0),
    FaultKind.SERVER_FAULT: (1.0, 4.0),
    FaultKind.LINK_FAULT: (0.3, 5.0),
    FaultKind.STORE_ERRORS: (0.5, 4.0),
}
SERVER_FAULTS: Final = (
    "low-permits=4",
    "oom=16",
    "batch-failure=2",
    "cuda-assert",
    "router-abort=40",
    "shard-crash=40",
    "slow-health=2",
    "health-overloaded",
    "adapter-flaky",
    "wedge=10",
)
STORE_STATUSES: Final = ("500", "503")
PASSINGS: Final = (1, 1, 1, 2, 4)
"""How often a failpoint is passed before it kills: some are passed on every commit, some once a job."""
MOMENTS_AT_ONCE: Final = 8


def make_schedule(seed: int, seconds: float, topology: Topology, moments: Sequence[str]) -> tuple[Fault, ...]:
    """Return the faults in their order; `moments` are the names of all failpoints."""
    chance = random.Random(f"{topology} {seed}")
    kinds, weights = zip(*_WEIGHTS[topology].items(), strict=True)
    faults: list[Fault] = []
    at_s = FIRST_S
    while at_s < seconds:
        (kind,) = chance.choices(kinds, weights)
        fault = Fault(
            at_s=round(at_s, 3),
            kind=kind,
            target=chance.randrange(_targets(kind, topology)),
            lasts_s=round(chance.uniform(*_LASTS_S[kind]), 3) if kind in _LASTS_S else 0.0,
            # By chance of its own: a new failpoint changes no more than what is armed.
            detail=_detail(kind, random.Random(chance.random()), moments),
            hasty=bool(faults) and chance.random() < HASTY_SHARE,
        )
        if fault.hasty:
            at_s = faults[-1].at_s + faults[-1].lasts_s + chance.uniform(*HASTY_GAP_S)
            fault = _moved(fault, at_s)
        faults.append(fault)
        at_s += fault.lasts_s + chance.uniform(*GAP_S)
    return tuple(faults)


def _moved(fault: Fault, at_s: float) -> Fault:
    return Fault(
        at_s=round(at_s, 3),
        kind=fault.kind,
        target=fault.target,
        lasts_s=fault.lasts_s,
        detail=fault.detail,
        hasty=fault.hasty,
    )


def _targets(kind: FaultKind, topology: Topology) -> int:
    if kind in (FaultKind.KILL_SERVER, FaultKind.ABORT_SERVER, FaultKind.SERVER_FAULT):
        return SERVERS
    if kind in (FaultKind.KILL_POSTMASTER, FaultKind.KILL_POSTGRES, FaultKind.FREEZE_POSTGRES, FaultKind.STORE_ERRORS):
        return 1
    if kind is FaultKind.LINK_FAULT:
        return SERVERS * SERVICES[topology]  # a number that every kind of link can be chosen by
    return SERVICES[topology]


def _detail(kind: FaultKind, chance: random.Random, moments: Sequence[str]) -> str:
    match kind:
        case FaultKind.FAILPOINT:
            names = sorted(chance.sample(sorted(moments), min(MOMENTS_AT_ONCE, len(moments))))
            return ",".join(f"{name}=kill@{chance.choice(PASSINGS)}" for name in names)
        case FaultKind.SERVER_FAULT:
            return chance.choice(SERVER_FAULTS)
        case FaultKind.STORE_ERRORS:
            return chance.choice(STORE_STATUSES)
        case FaultKind.LINK_FAULT:
            return f"{chance.choice(tuple(Link))}:{chance.choice(tuple(Damage))}"
        case _:
            return ""
