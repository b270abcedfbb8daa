"""Whether a job's deadline can be met, said at submission: the plan is played in fluid time with the job in it."""

import math
from dataclasses import dataclass, replace

from lorax_batch_scheduler.estimates.calibration import Edges, band
from lorax_batch_scheduler.estimates.eta import PLAIN_EDGES, end_sigma
from lorax_batch_scheduler.estimates.fluid_plan import NO_OUTLOOK, Outlook, can_host, finish_times
from lorax_batch_scheduler.job import AdmissionAnswer
from lorax_batch_scheduler.packing.cluster import ClusterView, JobView


@dataclass(frozen=True, slots=True, kw_only=True)
class Admission:
    """What a caller is told of a new job."""

    answer: AdmissionAnswer
    earliest_finish: float | None
    """When it should end if deadlines go first, in seconds of the view's clock; None: nothing can run it."""
    reason: str


def admit(view: ClusterView, job: JobView, outlook: Outlook = NO_OUTLOOK, *, edges: Edges = PLAIN_EDGES) -> Admission:
    """Return whether the job can end by its deadline. `view` holds its family, and all other jobs with work left.

    `edges`: `Calibration.edges(0)`.
    """
    family = next((each for each in view.families if each.family_id == job.family_id), None)
    if family is None or not any(can_host(slot, family) for slot in view.slots):
        reason = f"no slot can host a server of {job.family_id}"
        return Admission(answer=AdmissionAnswer.INFEASIBLE, earliest_finish=None, reason=reason)
    others = tuple(each for each in view.jobs if each.job_id != job.job_id)
    with_it = replace(view, jobs=(*others, job))
    in_turn = finish_times(with_it, outlook)[job.job_id]
    if job.deadline is None:
        return _without_deadline(view.now, in_turn)
    first = finish_times(with_it, outlook, deadlines_first=True)
    finish = min(first[job.job_id], in_turn)
    early, expected, late = band(view.now, finish, end_sigma(outlook, job.job_id), edges)
    answer, reason = _judge(view.now, job.deadline, early, expected, late)
    late_ones = [each for each in others if each.deadline is not None and first[each.job_id] > each.deadline]
    if answer is AdmissionAnswer.FEASIBLE and late_ones:
        without = finish_times(replace(view, jobs=others), outlook, deadlines_first=True)
        harmed = [each for each in late_ones if without[each.job_id] <= (each.deadline or 0.0)]
        if harmed:
            # Who asks sees nothing of other tenants but that they are there.
            first_harmed = next((each.job_id for each in harmed if each.tenant == job.tenant), "another tenant's job")
            told = f"{first_harmed} and {len(harmed) - 1} others" if len(harmed) > 1 else first_harmed
            answer, reason = AdmissionAnswer.AT_RISK, f"can end in time only if {told} would miss a deadline"
    return Admission(answer=answer, earliest_finish=_finite(expected), reason=reason)


def _judge(now: float, deadline: float, early: float, expected: float, late: float) -> tuple[AdmissionAnswer, str]:
    left, needs = _span(deadline - now), _span(expected - now)
    if early > deadline:
        return AdmissionAnswer.INFEASIBLE, f"needs about {needs} even if it goes first, and its deadline is in {left}"
    if late > deadline:
        latest = _span(late - now)
        reason = f"needs about {needs}, perhaps {latest}, if it goes first, and its deadline is in {left}"
        return AdmissionAnswer.AT_RISK, reason
    return AdmissionAnswer.FEASIBLE, f"needs about {needs}, and its deadline is in {left}"


def _without_deadline(now: float, in_turn: float) -> Admission:
    if not math.isfinite(in_turn):
        return Admission(
            answer=AdmissionAnswer.AT_RISK,
            earliest_finish=None,
            reason="no slot that could host it comes free while the jobs before it run",
        )
    reason = f"should end in about {_span(in_turn - now)}"
    return Admission(answer=AdmissionAnswer.FEASIBLE, earliest_finish=in_turn, reason=reason)


def _finite(time: float) -> float | None:
    return time if math.isfinite(time) else None


def _span(seconds: float) -> str:
    if not math.isfinite(seconds):
        return "an unknown time"
    if seconds < 120:
        return f"{max(seconds, 0):.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
