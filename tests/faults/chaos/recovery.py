"""What each kill of a service cost: rows called again, and the time until results were committed again."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from tests.faults.chaos.call import ANSWERED, Call, Repeat, is_due_to
from tests.faults.chaos.injector import Injected
from tests.faults.chaos.pulse import Pulse
from tests.faults.chaos.replica import Death

AFTERMATH_S = 6.0
"""A fault that lasted may make rows repeat for so long after it: leases run out, connections are found dead."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KillCost:
    """One kill of a service."""

    death: Death
    in_flight: int
    """Rows that the servers had from this service at the kill."""
    repeated: int
    recovery_s: float | None
    """To the next commit of any row; None when the next fault came before it."""
    resend_s: float | None
    """To the first answer of a row that it had in flight and that was sent again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    """All kills, and repeated calls that belong to none of them."""

    kills: list[KillCost]
    by_other_faults: dict[str, int]
    unexplained: list[Repeat]


def attribute(
    calls: Sequence[Call],
    repeats: Sequence[Repeat],
    deaths: Sequence[Death],
    injected: Sequence[Injected],
    pulse: Pulse,
) -> Costs:
    """Give each repeated call to the kill that caused it, or else to the fault that did."""
    killed = sorted((death for death in deaths if death.is_kill), key=lambda death: death.moment)
    by_kill: dict[int, list[Repeat]] = defaultdict(list)
    left: list[Repeat] = []
    for repeat in repeats:
        cause = _kill_of(repeat, killed)
        (left if cause is None else by_kill[cause]).append(repeat)
    kills = []
    ends = sorted([one.began for one in injected] + [death.moment for death in deaths if death.failpoint])
    for number, death in enumerate(killed):
        own = by_kill[number]
        until = next((moment for moment in ends if moment > death.moment), float("inf"))
        answers = [
            repeat.again.ended
            for repeat in own
            if repeat.again.status == ANSWERED and repeat.again.ended is not None and repeat.again.ended > death.moment
        ]
        kills.append(
            KillCost(
                death=death,
                in_flight=_in_flight(calls, own, death.moment),
                repeated=len(own),
                recovery_s=pulse.recovery_s(death.moment, until),
                resend_s=min(answers) - death.moment if answers else None,
            )
        )
    others: dict[str, int] = {}
    for death in deaths:
        if not death.is_kill:
            left = _take(left, death.began, death.moment, "stopped service", others)
    for one in injected:
        name = f"{one.fault.kind} {one.fault.detail}".strip()
        left = _take(left, one.began, one.ended + AFTERMATH_S, name, others)
    return Costs(kills=kills, by_other_faults=others, unexplained=left)


def _in_flight(calls: Sequence[Call], own: Sequence[Repeat], moment: float) -> int:
    """Count what was in flight: what broke, and what a server went on to answer since nobody had told it yet."""
    broke = [call for call in calls if call.broke_at(moment)]
    answered = [repeat.first for repeat in own if repeat.first.status == ANSWERED]
    return len(broke) + sum(call.began <= moment and (call.ended or moment) >= moment for call in answered)


def _kill_of(repeat: Repeat, killed: Sequence[Death]) -> int | None:
    """Return the place of the kill that is nearest to the end of the first call, among those that explain it."""
    near = {
        abs((repeat.first.ended or death.moment) - death.moment): number
        for number, death in enumerate(killed)
        if is_due_to(repeat, death.moment, death.moment)
    }
    return near[min(near)] if near else None


def _take(left: list[Repeat], began: float, ended: float, name: str, others: dict[str, int]) -> list[Repeat]:
    kept = [repeat for repeat in left if not is_due_to(repeat, began, ended)]
    if len(kept) < len(left):
        others[name] = others.get(name, 0) + len(left) - len(kept)
    return kept


def quantiles(values: Sequence[float]) -> dict[str, float]:
    """Return median, 95th percentile and maximum; nothing of nothing."""
    if not values:
        return {}
    ordered = sorted(values)
    at_95 = ordered[min(len(ordered) - 1, int(0.95 * len(ordered)))]
    return {"median": round(median(ordered), 3), "p95": round(at_95, 3), "max": round(ordered[-1], 3)}
