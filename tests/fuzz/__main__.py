"""`python -m tests.fuzz --seconds 600`: fuzz with a new seed every round until the time is over or a round fails.

Each round's seed is printed; `--seed N` runs one round again.
"""

import argparse
import os
import random
import subprocess
import sys
import time

SCALE = 10


def run_round(seed: int) -> int:
    """Run all fuzz tests with a seed and return pytest's exit code."""
    print(f"fuzz round with --seed {seed}", flush=True)
    arguments = ["-p", "no:cacheprovider", "--timeout", "1200", f"--hypothesis-seed={seed}", "tests/fuzz"]
    return subprocess.run(
        [sys.executable, "-m", "pytest", *arguments],
        env={**os.environ, "FUZZ_SEED": str(seed), "FUZZ_SCALE": str(SCALE)},
        check=False,
    ).returncode


def main() -> int:
    """Fuzz; return the exit code of the round that failed, or 0."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--seconds", type=float, default=600.0, help="no new round begins after so long")
    parser.add_argument("--seed", type=int, help="run one round, with this seed")
    arguments = parser.parse_args()
    if arguments.seed is not None:
        return run_round(arguments.seed)
    deadline = time.monotonic() + arguments.seconds
    while time.monotonic() < deadline:
        if code := run_round(random.randrange(1, 2**31)):
            return code
    return 0


if __name__ == "__main__":
    sys.exit(main())
