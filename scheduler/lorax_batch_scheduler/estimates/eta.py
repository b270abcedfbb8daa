"""When jobs will end, with a band: the fluid plan, with the errors of its parts and what calibration has shown."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from lorax_batch_scheduler.estimates.calibration import Calibration, Edges, band, stage_of
from lorax_batch_scheduler.estimates.fluid_plan import NO_OUTLOOK, Outlook, finish_times
from lorax_batch_scheduler.packing.cluster import ClusterView

PLAN_SIGMA: Final = 0.3
"""Of the logarithm of the time to an end, of what the fluid plan leaves out: switches, stragglers, others that come."""
DEFAULT_WORK_SIGMA: Final = 0.5
PLAIN_EDGES: Final = Edges(early=-1.28, middle=0.0, late=1.28)


@dataclass(frozen=True, slots=True, kw_only=True)
class Eta:
    """When a job should end, in seconds of the view's clock."""

    early: float
    """One of ten ends earlier."""
    expected: float
    late: float
    """One of ten ends later."""


def etas(
    view: ClusterView,
    outlook: Outlook = NO_OUTLOOK,
    *,
    fractions: Mapping[str, float],
    calibration: Calibration | None = None,
) -> dict[str, Eta]:
    """Return the band of each job's end; jobs that no slot can host have none.

    `fractions`: by job, the share of its rows that has ended. With `calibration`, forecasts are noted there.
    """
    found: dict[str, Eta] = {}
    for job_id, finish in finish_times(view, outlook).items():
        if not math.isfinite(finish):
            continue
        fraction = fractions.get(job_id, 0.0)
        sigma = end_sigma(outlook, job_id)
        edges = calibration.edges(stage_of(fraction)) if calibration is not None else PLAIN_EDGES
        if calibration is not None:
            calibration.note(job_id, fraction, now=view.now, finish=finish, log_sigma=sigma)
        early, expected, late = band(view.now, finish, sigma, edges)
        found[job_id] = Eta(early=early, expected=expected, late=late)
    return found


def end_sigma(outlook: Outlook, job_id: str) -> float:
    """Return the log-sigma of the time to a job's end."""
    return math.hypot(outlook.log_sigmas.get(job_id, DEFAULT_WORK_SIGMA), PLAN_SIGMA)
