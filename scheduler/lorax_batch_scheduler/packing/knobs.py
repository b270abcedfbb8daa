"""What the policy weighs."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Knobs:
    """What the policy weighs; the defaults are from replays of traces, see docs/packing.md."""

    idle_margin: float = 2.5
    """On an idle slot, the work of each server is at least so many set-ups."""
    busy_margin: float = 5.0
    """The same for taking a slot from another family."""
    strength: float = 2.5
    """A claim must be so many times stronger than that of the family whose slot it takes."""
    payback: float = 1.5
    """A server works for so many of its set-ups before its slot may be taken."""
    horizon: float = 4.0
    """What one more slot would do is looked at for so many set-ups, and families may have the slots that end their
    jobs when they are entitled to, or in that time when later."""
    deadline_margin: float = 1.2
    """A job with a deadline is taken to need so many times the work that is estimated, and a row beyond it."""
    critical_share: float = 0.2
    """A deadline is near when a set-up and this part of the time to it would use up the laxity."""
    idle_release: float = 1.0
    """A server without rows is kept for so many of its set-ups: who waits longer would have paid for a new start."""
    patience: float = 20.0
    """Servers are kept full when jobs take so many times as long as a row does on a full server."""
    least_window: float = 0.25
    """So much of it is filled in any case."""
    nearest_s: float = 20.0
    """Finish times nearer than this are as urgent as this."""


DEFAULT_KNOBS = Knobs()
