"""How many examples a test takes whose examples are not cheap."""

import os

from hypothesis import settings

LONG = 40
"""So many times as many in a long run."""


def examples(count: int, *, steps: int | None = None) -> settings:
    """Return settings for so many examples in a usual run; `steps`: of each stateful one."""
    if os.environ.get("HYPOTHESIS_PROFILE") == "long":
        count *= LONG
    return settings(max_examples=count, stateful_step_count=steps or settings().stateful_step_count)
