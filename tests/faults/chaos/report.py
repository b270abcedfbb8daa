"""What a run tells: text for a person, JSON for programs."""

import json
import signal
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.faults.chaos.fault import KILLS, FaultKind, Topology
from tests.faults.chaos.findings import Findings
from tests.faults.chaos.injector import Injected
from tests.faults.chaos.recovery import Costs, quantiles
from tests.faults.chaos.replica import Death
from tests.faults.chaos.schedule import LEASE_S
from tests.faults.chaos.workload import Ledger

REPEATED_SHARE: Final = 0.1
RECOVERY_S: Final = 5.0
JUDGED_S: Final = 600.0
"""Runs that are shorter have too few kills to be held to the targets."""
SILENT_SHARE: Final = 0.2
"""A run in which more of the faults met nothing has proved little."""
FEW_FAILPOINTS: Final = 5
"""So few may all miss: the next fault may end the armed life before it comes to one of its moments."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """One run on one topology."""

    topology: Topology
    seed: int
    seconds: float
    findings: Findings
    ledger: Ledger
    injected: Sequence[Injected]
    deaths: Sequence[Death]
    refusals: int
    costs: Costs
    call_count: int
    events: int
    committed_rows: int

    @property
    def passed(self) -> bool:
        """Whether nothing was found."""
        return not self.findings.texts

    def problems(self) -> list[str]:
        """Return why the run proves too little, or cost too much."""
        problems = []
        if not sum(self.kills.values()):
            problems.append("nothing was killed")
        if self.costs.unexplained:
            keys = sorted(repeat.first.key for repeat in self.costs.unexplained)
            problems.append(f"{len(keys)} calls were repeated although nothing had happened to them: {keys[:10]}")
        armed = [one for one in self.injected if one.fault.kind is FaultKind.FAILPOINT]
        others = [one for one in self.injected if one.fault.kind is not FaultKind.FAILPOINT]
        silent = sum(not one.proof for one in others)
        if silent > max(1.0, SILENT_SHARE * len(others)):
            problems.append(f"{silent} of {len(others)} faults had no effect, at most {SILENT_SHARE:.0%} may have none")
        if len(armed) > FEW_FAILPOINTS and not any(one.proof for one in armed):
            problems.append(f"none of {len(armed)} armed failpoints fired")
        if self.is_judged:
            missed = [name for name, reached in self.figures["targets"].items() if reached == "NO"]
            problems += [f"missed the target {name}" for name in missed]
        return problems

    @property
    def is_judged(self) -> bool:
        """Whether a missed target is a finding."""
        return self.seconds >= JUDGED_S

    @property
    def kills(self) -> Counter[str]:
        """Processes that were killed, by what killed them."""
        kinds = Counter(str(one.fault.kind) for one in self.injected if one.fault.kind in KILLS and one.proof)
        kinds["failpoint"] = sum(bool(death.failpoint) for death in self.deaths)
        kinds["kill-service"] = sum(death.code == -signal.SIGKILL and not death.failpoint for death in self.deaths)
        return kinds

    @property
    def figures(self) -> dict[str, Any]:
        """Everything that can be counted."""
        fired = Counter(str(one.fault.kind) for one in self.injected if one.proof)
        silent = Counter(str(one.fault.kind) for one in self.injected if not one.proof)
        kills = self.costs.kills
        in_flight, repeated = sum(kill.in_flight for kill in kills), sum(kill.repeated for kill in kills)
        return {
            "topology": self.topology.value,
            "seed": self.seed,
            "seconds": round(self.seconds, 1),
            "jobs": sum(self.ledger.states.values()),
            "jobs_by_end": dict(self.ledger.states),
            "callers": dict(self.ledger.started),
            "rows": self.ledger.rows,
            "rows_answered": self.ledger.answered,
            "rows_by_error": dict(self.ledger.codes),
            "calls": self.call_count,
            "watch_events": self.events,
            "lost": self.findings.lost,
            "doubled": self.findings.doubled,
            "kills": sum(self.kills.values()),
            "kills_by_kind": dict(self.kills),
            "failpoints": dict(Counter(death.failpoint for death in self.deaths if death.failpoint)),
            "faults": dict(fired),
            "faults_without_effect": dict(silent),
            "refused_starts": self.refusals,
            "repeated_calls": repeated,
            "in_flight_at_kills": in_flight,
            "repeated_per_in_flight": round(repeated / in_flight, 3) if in_flight else 0.0,
            "targets": self._targets(repeated, in_flight),
            "repeated_calls_per_kill": quantiles([kill.repeated for kill in kills]),
            "in_flight_per_kill": quantiles([kill.in_flight for kill in kills]),
            "repeated_by_other_faults": self.costs.by_other_faults,
            "repeated_unexplained": len(self.costs.unexplained),
            "recovery_s": quantiles([kill.recovery_s for kill in kills if kill.recovery_s is not None]),
            "recoveries_measured": sum(kill.recovery_s is not None for kill in kills),
            "answered_again_s": quantiles([kill.resend_s for kill in kills if kill.resend_s is not None]),
        }

    def _targets(self, repeated: int, in_flight: int) -> dict[str, str]:
        """Return what was aimed at, and whether it was reached: on a machine that does nothing else."""
        kills = self.costs.kills
        recovery = quantiles([kill.recovery_s for kill in kills if kill.recovery_s is not None]).get("median", 0.0)
        again = quantiles([kill.resend_s for kill in kills if kill.resend_s is not None]).get("median", 0.0)
        reached = {
            f"repeated <= in flight + {REPEATED_SHARE:.0%}": repeated <= in_flight * (1 + REPEATED_SHARE),
            f"recovery <= {RECOVERY_S:g} s": recovery <= RECOVERY_S,
        }
        if self.topology is Topology.SHARED:
            reached[f"dead replica <= lease + {RECOVERY_S:g} s"] = again <= LEASE_S + RECOVERY_S
        return {name: "yes" if was_reached else "NO" for name, was_reached in reached.items()}

    def text(self) -> str:
        """Return it for a person."""
        lines = [f"  {name + ':':<26} {_worded(value)}" for name, value in self.figures.items()]
        verdict = "PASSED" if self.passed else f"FAILED: {len(self.findings.texts)} findings"
        held = "is a finding" if self.is_judged else f"is only told: a run below {JUDGED_S:g} s is not held to it"
        lines.append(f"  a missed target {held}")
        return "\n".join([f"{self.topology} seed {self.seed}: {verdict}", *lines, *self.findings.texts])

    def write(self, folder: Path) -> Path:
        """Write it as JSON, with each fault and its proof; return where."""
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{self.topology}-{self.seed}.json"
        faults = [
            {"fault": str(one.fault), "began": one.began, "ended": one.ended, "proof": one.proof}
            for one in self.injected
        ]
        kills = [
            {
                "service": kill.death.replica,
                "moment": kill.death.moment,
                "failpoint": kill.death.failpoint,
                "in_flight": kill.in_flight,
                "repeated": kill.repeated,
                "recovery_s": kill.recovery_s,
                "answered_again_s": kill.resend_s,
            }
            for kill in self.costs.kills
        ]
        content = {"findings": self.findings.texts, **self.figures, "fault_log": faults, "kill_log": kills}
        path.write_text(json.dumps(content, indent=1), encoding="utf-8")
        return path


def _worded(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {count}" for name, count in value.items()) or "none"
    return str(value)
