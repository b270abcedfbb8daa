"""How long a fuzz run is and what it begins from; `python -m tests.fuzz` sets both for a long one."""

import os
from typing import Final

SEED: Final = int(os.environ.get("FUZZ_SEED", "0"))
"""0: the same run every time."""
SCALE: Final = int(os.environ.get("FUZZ_SCALE", "1"))
"""How many times as much is tried as in a short run."""
EXAMPLES: Final = 60 * SCALE
"""Of each property."""
