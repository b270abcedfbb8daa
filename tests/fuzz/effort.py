"""How long a fuzz run is and what it begins from; `python -m tests.fuzz` sets both for a long one."""

import os
from typing import Final

from hypothesis import HealthCheck, settings

SEED: Final = int(os.environ.get("FUZZ_SEED", "0"))
"""0: the same run every time."""
SCALE: Final = int(os.environ.get("FUZZ_SCALE", "1"))
"""How many times as much is tried as in a short run."""
FUZZED: Final = settings(
    deadline=None,
    max_examples=60 * SCALE,
    derandomize=SEED == 0,
    database=None,
    print_blob=True,
    # Values as long as a limit are what this is about, and a busy machine is slow.
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
"""How each property is tried, as a decorator."""
