"""The command line: `python -m tests.faults.chaos --seconds 60 --seed 1 --topology both`."""

import argparse
import asyncio
import random
import shutil
import signal
import sys
import tempfile
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import lorax_batch_server.app  # noqa: F401 - names the failpoints
from lorax_batch_scheduler.failpoints import KNOWN

from tests.faults.chaos.fault import Topology
from tests.faults.chaos.report import Report
from tests.faults.chaos.run import LONG, SHORT, run
from tests.faults.chaos.schedule import make_schedule

LONG_S = 120.0
"""Longer runs have larger jobs, and more of them."""


def main() -> int:
    """Run; return 0 when nothing was found."""
    parser = argparse.ArgumentParser(prog="chaos", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="of faults on each topology (%(default)s)")
    parser.add_argument("--seed", type=int, help="of the schedule and the load (default: by chance)")
    parser.add_argument("--topology", choices=[*Topology, "both"], default="both", help="(%(default)s)")
    parser.add_argument("--schedule", action="store_true", help="print the schedule and do nothing")
    parser.add_argument("--folder", type=Path, default=Path("build/chaos"), help="of reports and logs (%(default)s)")
    given = parser.parse_args()
    seed = random.randrange(10**6) if given.seed is None else given.seed
    topologies = list(Topology) if given.topology == "both" else [Topology(given.topology)]
    print(f"seed {seed}: again with --seed {seed} --seconds {given.seconds:g}", flush=True)
    passed = True
    for topology in topologies:
        faults = make_schedule(seed, given.seconds, topology, sorted(KNOWN))
        if given.schedule:
            print("\n".join([f"{topology}:", *map(str, faults)]))
            continue
        report = _run(topology, seed, given.seconds, given.folder)
        passed = passed and report.passed
    return 0 if passed else 1


def _run(topology: Topology, seed: int, seconds: float, folder: Path) -> Report:
    faults = make_schedule(seed, seconds, topology, sorted(KNOWN))
    # Any user may pass through it: root's PostgreSQL is not root.
    directory = Path(tempfile.mkdtemp(prefix="lorax-batch-chaos-"))
    directory.chmod(0o711)
    size = SHORT if seconds < LONG_S else LONG
    try:
        report = asyncio.run(_until_stopped(run(topology, seed, seconds, faults, directory, size=size, tell=_tell)))
        path = report.write(folder)
        print(report.text(), f"\nwritten to {path}", flush=True)
        _keep_logs(directory, folder / f"{topology}-{seed}-logs")
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    return report


async def _until_stopped(running: Coroutine[Any, Any, Report]) -> Report:
    """Run, and end all processes when this one is asked to end."""
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    return await running


def _tell(text: str) -> None:
    print(text, flush=True)


def _keep_logs(directory: Path, folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for log in [*directory.glob("*/*.log"), *directory.glob("server-*")]:
        shutil.copy(log, folder / log.relative_to(directory).as_posix().replace("/", "-"))


if __name__ == "__main__":
    sys.exit(main())
