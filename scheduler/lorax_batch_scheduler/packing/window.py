"""How full servers are kept: a full one does the most work, and takes the longest over each row.

A row takes as long as the rows beside it are many (Little's law), while the work done levels off: with a part p of a
full window a row takes about p as long, and all that waits is held up by what grows as 1/p. Little waiting: short
rows are worth more. Much waiting: work is. The least sum of both is at a part that grows as the root of the flow time.
"""

from collections.abc import Sequence

from lorax_batch_scheduler.packing.knobs import Knobs


def window_part(flows_s: Sequence[float], full_row_s: float, knobs: Knobs) -> float:
    """Return the part of their windows that a family's servers fill.

    `flows_s`: from arrival to end of each job, as it looks now. `full_row_s`: of a row on a full server; 0: unknown.
    """
    if not flows_s or full_row_s <= 0:
        return 1.0
    # Harmonic: short jobs are few at any moment because they go soon, and many over time.
    flow_s = len(flows_s) / sum(1 / max(flow, 1.0) for flow in flows_s)
    part: float = (flow_s / (knobs.patience * full_row_s)) ** 0.5
    return min(max(part, knobs.least_window), 1.0)
