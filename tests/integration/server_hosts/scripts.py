"""Servers made of a few lines of Python: what the simulator never does."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lorax_batch_scheduler.clock import SystemClock
from lorax_batch_scheduler.launch import Launch
from lorax_batch_scheduler.server_hosts.command import CommandHost
from lorax_batch_scheduler.server_hosts.fleet_file import parse_fleet

LAUNCH = Launch(family="f" * 64, base_model_id="m", model="org/model", arguments=("--quantize", "eetq"))

STUBBORN = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(600)"
)
"""Does not end when asked."""
WITH_SHARD = (
    "import subprocess, sys, time; "
    "shard = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'], process_group=0); "
    "print('shard', shard.pid, flush=True); time.sleep(600)"
)
"""Like a launcher: what it starts is in a process group of its own, and outlives it."""
SLEEPER = "import time; time.sleep(600)"
SHOWS_ALL = "import os, sys; print(sys.argv[1:-1]); print(sorted(os.environ.items())); sys.exit(7)"


def script_host(
    directory: Path,
    script: str,
    *arguments: str,
    gpus: Sequence[int] = (0,),
    template: dict[str, Any] | None = None,
    **slot: Any,
) -> CommandHost:
    """Return a host of one slot, `gpu-0`, whose servers run a script."""
    # The port comes last, for scripts that have no use for it: a template must have it.
    command = [sys.executable, "-c", script, *arguments, *([] if "{port}" in arguments else ["{port}"])]
    document = {
        "templates": {"script": {"command": command, **(template or {})}},
        "slots": [{"id": "gpu-0", "gpus": list(gpus), "template": "script", "grace_s": 10, **slot}],
    }
    plan = parse_fleet(document, "test")
    return CommandHost(plan.command, state_dir=directory / "state", clock=SystemClock())


def log_of(directory: Path, server_id: str) -> str:
    """Return what a server has written."""
    path = directory / "state/logs" / f"{server_id}.log"
    return path.read_text() if path.exists() else ""
