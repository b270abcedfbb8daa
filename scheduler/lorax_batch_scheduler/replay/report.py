"""Replays a trace under policies and keeps what each has shown."""

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from lorax_batch_scheduler.errors import InvalidInputError
from lorax_batch_scheduler.replay.bounds import Bounds, bounds_of
from lorax_batch_scheduler.replay.cluster import Outcome, Replay
from lorax_batch_scheduler.replay.job_run import JobRun
from lorax_batch_scheduler.replay.measures import Measures, measure
from lorax_batch_scheduler.replay.policies import POLICIES
from lorax_batch_scheduler.replay.trace import Trace
from lorax_batch_scheduler.replay.trace_field import near

SERVICE_POLICY: Final = "setup_aware_fair"
"""The planner of the service."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyRun:
    """What a trace came to under one policy."""

    policy: str
    measures: Measures
    outcome: Outcome

    @property
    def missed(self) -> list[JobRun]:
        """The jobs that ended after their deadline, or not at all, the latest first."""
        late = [job for job in self.outcome.jobs if lateness_s(job) > 0]
        return sorted(late, key=lambda job: (-lateness_s(job), job.trace.id))


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """A trace under several policies, against what no schedule can beat."""

    trace: Trace
    bounds: Bounds
    runs: tuple[PolicyRun, ...]


def replay_trace(trace: Trace, policy: str = SERVICE_POLICY) -> PolicyRun:
    """Replay a trace in virtual time. Raises `InvalidInputError` when there is no such policy."""
    return compare_policies(trace, [policy]).runs[0]


OnProgress = Callable[[str, int], None]
"""Of a policy, how many jobs have ended; "" before the first, while the bounds are computed."""


def compare_policies(
    trace: Trace, policies: Sequence[str], *, on_progress: OnProgress = lambda policy, ended: None
) -> Report:
    """Replay a trace once under each policy. Raises `InvalidInputError` when there is no such policy."""
    for name in policies:
        if name not in POLICIES:
            raise InvalidInputError("policy", f"'{name}' is no policy{near(name, POLICIES)}")
    on_progress("", 0)
    bounds = bounds_of(trace)
    runs = []
    for name in dict.fromkeys(policies):
        outcome = Replay(trace, POLICIES[name](), on_plan=partial(on_progress, name)).run()
        runs.append(PolicyRun(policy=name, measures=measure(trace, bounds, outcome), outcome=outcome))
    return Report(trace=trace, bounds=bounds, runs=tuple(runs))


def lateness_s(job: JobRun) -> float:
    """Return how long after its deadline a job ended; 0 in time or without one, infinite when it never did."""
    deadline = job.trace.deadline_s
    if deadline is None:
        return 0.0
    return max((job.finish if job.finish is not None else math.inf) - deadline, 0.0)


def report_fields(report: Report) -> dict[str, Any]:
    """Return a report as JSON has it; what is infinite (a job that never ended) is null there."""
    trace, bounds = report.trace, report.bounds
    return {
        "trace": {
            "name": trace.name,
            "version": trace.version,
            "slots": len(trace.slots),
            "families": len(trace.families),
            "jobs": len(trace.jobs),
            "rows": sum(run.row_count for run in report.runs[0].outcome.jobs) if report.runs else 0,
        },
        "bounds": {
            "makespan_s": bounds.makespan_s,
            "mean_flow_s": bounds.mean_flow_s,
        },
        "policies": [_run_fields(run) for run in report.runs],
    }


def _run_fields(run: PolicyRun) -> dict[str, Any]:
    return {
        "policy": run.policy,
        "measures": {name: _finite(value) for name, value in dataclasses.asdict(run.measures).items()},
        "plans": run.outcome.plans,
        "repeated_rows": run.outcome.repeated_rows,
        "jobs": [
            {
                "id": job.trace.id,
                "family": job.trace.family,
                "tenant": job.trace.tenant,
                "arrival_s": job.trace.arrival_s,
                "start_s": job.start,
                "finish_s": job.finish,
                "deadline_s": job.trace.deadline_s,
                "missed": lateness_s(job) > 0,
            }
            for job in run.outcome.jobs
        ],
        "servers": [
            {
                "id": stay.server_id,
                "slot": stay.slot_id,
                "family": stay.family,
                "start_s": stay.start,
                "ready_s": stay.ready,
                "end_s": stay.end,
                "busy_s": stay.busy_s,
                "adapter_loads": stay.adapter_loads,
                "tokens": stay.tokens,
                "ended_because": stay.reason,
            }
            for stay in run.outcome.stays
        ],
    }


def _finite(value: Any) -> Any:  # noqa: ANN401  # any field of the measures
    return None if isinstance(value, float) and not math.isfinite(value) else value
