"""The kinds of server hosts, each as the conformance suite needs it: a kind is added by a class and a line in CASES."""

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import msgspec
from lorax_batch_scheduler.clock import SystemClock
from lorax_batch_scheduler.ports.server_host import LaunchedServer, ServerHost
from lorax_batch_scheduler.server_hosts.command import CommandHost
from lorax_batch_scheduler.server_hosts.fleet_file import parse_fleet

from tests.kubernetes.host_case import KubernetesCase


class HostCase(Protocol):
    """A kind of host, and what of it outlives a host object: processes and records, or a cluster."""

    slot_ids: tuple[str, str]

    def open(self, *slot_ids: str) -> ServerHost:
        """Return a new host over the same surroundings, with these of the slots; all of them when none is named."""
        ...

    def exists(self, server: LaunchedServer) -> bool:
        """Tell whether the server is really there, whatever the host says."""
        ...

    def break_down(self, server: LaunchedServer) -> None:
        """Let the server die by itself."""
        ...

    def close(self) -> None:
        """End what outlives hosts."""
        ...

    def traces(self) -> str:
        """Return all that a host leaves where others can read it: arguments, records, logs."""
        ...


def simulator_slot(slot_id: str, gpu: int, **more: Any) -> dict[str, Any]:
    """Return the entry of a fleet file for a slot with a simulator that takes no time."""
    values = {"time_scale": "0", "startup_delay_s": "0"}
    return {"id": slot_id, "gpus": [gpu], "template": "simulator", "values": values, "grace_s": 10, **more}


class CommandCase:
    """Simulators as processes of this machine."""

    slot_ids = ("gpu-0", "gpu-1")

    def __init__(self, directory: Path) -> None:
        self.state_dir = directory / "command"

    def open(self, *slot_ids: str) -> CommandHost:
        chosen = slot_ids or self.slot_ids
        entries = [simulator_slot(slot_id, gpu) for gpu, slot_id in enumerate(self.slot_ids) if slot_id in chosen]
        plan = parse_fleet({"slots": entries}, "test")
        return CommandHost(plan.command, state_dir=self.state_dir, clock=SystemClock())

    def exists(self, server: LaunchedServer) -> bool:
        return bool(self._pids(server))

    def break_down(self, server: LaunchedServer) -> None:
        for pid in self._pids(server):
            os.kill(pid, signal.SIGKILL)

    def traces(self) -> str:
        files = [path.read_text(errors="replace") for path in self.state_dir.rglob("*") if path.is_file()]
        commands = [path.read_bytes().decode(errors="replace") for path in Path("/proc").glob("[0-9]*/cmdline")]
        return "\n".join(files + commands)

    def _pids(self, server: LaunchedServer) -> list[int]:
        """Return the processes that were started for the server's port, by their command line; none without one."""
        command = ["-m", "lorax_simulator", "--port", server.url.rpartition(":")[2], "--model-id", server.model]
        found = []
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                words = path.read_bytes().decode(errors="replace").split("\0")
            except OSError:
                continue
            if words[1 : 1 + len(command)] == command:
                found.append(int(path.parent.name))
        return found

    def close(self) -> None:
        """Nothing is left: tests close their hosts."""

    def pid_of_record(self, server: LaunchedServer) -> int:
        """Return the pid that is on disk."""
        record = msgspec.json.decode((self.state_dir / "servers" / f"{server.server_id}.json").read_bytes())
        return int(record["process"]["pid"])


CASES: dict[str, Callable[[Path], HostCase]] = {"command": CommandCase, "kubernetes": KubernetesCase}
"""Every kind that starts servers; `static` has tests of its own in the suite."""
