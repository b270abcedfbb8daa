"""Whether one machine can keep up with a rehearsal."""

import math
import os
from dataclasses import dataclass
from typing import Final

ROWS_PER_SECOND_A_CORE: Final = 700
"""Service, PostgreSQL and simulated servers together; measured, see docs/rehearsal.md."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How fast rows must be answered for a trace to take the time that it is given."""

    asked: float
    """Rows a second, on average."""
    possible: float
    """Rows a second that this machine does, roughly."""
    enough: float
    """The least time scale at which it keeps up, rounded up; above 1, none does."""

    @property
    def is_too_fast(self) -> bool:
        """Whether the live run must fall behind its replay, whatever the planner does."""
        return self.asked > self.possible

    def warning(self, time_scale: float) -> str:
        """Return what to say when it is too fast."""
        way_out = f"--time-scale {self.enough:g} would do" if self.enough <= 1 else "give the trace fewer rows"
        return (
            f"warning: at --time-scale {time_scale:g} the rows need {self.asked:,.0f} answers a second, but this "
            f"machine does about {self.possible:,.0f}: the live run will be late for that alone; {way_out}"
        )


def pace_of(row_count: int, makespan_s: float, time_scale: float, cores: int) -> Pace:
    """Return the pace of a trace whose replay takes `makespan_s` seconds of the trace."""
    possible = float(ROWS_PER_SECOND_A_CORE * max(cores, 1))
    in_trace_time = row_count / max(makespan_s, 1e-9)
    return Pace(asked=in_trace_time / time_scale, possible=possible, enough=_rounded_up(in_trace_time / possible))


def usable_cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _rounded_up(value: float) -> float:
    """Return a number with two digits that is not smaller."""
    if value <= 0:
        return 0.0
    unit = 10.0 ** (math.floor(math.log10(value)) - 1)
    return float(f"{math.ceil(value / unit) * unit:.2g}")
