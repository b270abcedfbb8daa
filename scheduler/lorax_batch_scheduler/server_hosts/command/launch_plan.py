"""What a server is started with: command, environment and port."""

import os
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from lorax_batch_scheduler.errors import FleetError
from lorax_batch_scheduler.launch import FOR_EVERYBODY, TOKEN_VARIABLES, Launch
from lorax_batch_scheduler.server_hosts.command.slot import CommandSlot
from lorax_batch_scheduler.server_hosts.command.template import fill

_OURS: Final = ("LORAX_BATCH_", "AWS_", "PG", "OTEL_")
"""How variables begin that are for this process: its settings, and what its stores and collectors let it in with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchPlan:
    """All that a process is made of."""

    command: list[str] = field(repr=False)
    environment: Mapping[str, str] = field(repr=False)
    stop: tuple[str, ...]
    cleanup: tuple[str, ...]
    token: str | None = field(repr=False)
    """Of Hugging Face: shown to nobody."""


def plan_launch(slot: CommandSlot, launch: Launch, *, server_id: str, port: int, master_port: int) -> LaunchPlan:
    """Fill in a slot's template. Raises `FleetError` when its program is not on this host."""
    template = slot.template
    added = _added_variables(slot, launch)
    harmless = {**template.values, **slot.values} | {
        "gpu": slot.gpus[0],
        "gpus": ",".join(slot.gpus),
        "port": str(port),
        "master_port": str(master_port),
        "name": f"lorax-batch-{server_id}",
        "grace_s": f"{slot.grace_s:.0f}",
        "python": sys.executable,
    }
    values: dict[str, str | tuple[str, ...]] = {
        **harmless,
        "model": launch.model,
        "tag": launch.image_tag or harmless.get("tag", ""),
        "family": launch.family,
        "slot": slot.slot_id,
        "memory_fraction": f"{slot.share:g}",
        "args": launch.arguments,
        "environment": tuple(sorted(added)),
    }
    environment = (
        base_environment()
        | added
        | {
            "CUDA_VISIBLE_DEVICES": ",".join(slot.gpus),
            "CUDA_DEVICE_ORDER": "PCI_BUS_ID",  # the numbers that nvidia-smi shows
        }
    )
    command = fill(template.command, values)
    if shutil.which(command[0], path=environment.get("PATH")) is None:
        raise FleetError(
            f"slot {slot.slot_id}: template {template.name} needs the program '{command[0]}', which is not on this "
            "host's PATH: install it, or give the slot another template"
        )
    return LaunchPlan(
        command=command,
        environment=environment,
        stop=tuple(fill(template.stop, harmless)),
        cleanup=tuple(fill(template.cleanup, harmless)),
        token=added.get(TOKEN_VARIABLES[0]),
    )


def base_environment() -> dict[str, str]:
    """Return this process's environment without what opens the service's own stores.

    Rows may name adapters in S3: a server with the service's credentials would read all datasets and results for them.
    """
    return {name: value for name, value in os.environ.items() if not name.startswith(_OURS)}


def _added_variables(slot: CommandSlot, launch: Launch) -> dict[str, str]:
    """Return the variables that a container's client must hand on by name."""
    added = dict(slot.environment)
    if slot.share < 1:
        added.setdefault("CUDA_MEMORY_FRACTION", f"{slot.share:g}")  # the launcher reads it as an option's default
    operators = next((os.environ[name] for name in TOKEN_VARIABLES if os.environ.get(name)), "")
    token = launch.hf_token or operators
    if token:
        added |= dict.fromkeys(TOKEN_VARIABLES, token)
    if operators and not launch.hf_token:
        # Rows of a job with a token bring it along for their adapters. This one is for all of them; a job's own never
        # is: with it other jobs on the server would get adapters that are not theirs.
        added.setdefault(FOR_EVERYBODY, "1")
    return added
