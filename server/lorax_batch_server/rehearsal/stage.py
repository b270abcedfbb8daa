"""What a service needs to run a trace: a catalogue of its models, and a fleet of simulated servers on its slots."""

import json
import os
from pathlib import Path
from typing import Any, Final

from lorax_batch_scheduler.replay import Trace
from lorax_batch_scheduler.replay.server_model import ServerModels
from lorax_batch_scheduler.replay.trace import TraceModel, TraceSlot

from lorax_batch_server.rehearsal.speeds import speed_of

GRACE_S: Final = 5.0
STALL_AFTER_S: Final = 120.0
CONTEXT_TOKENS: Final = 2_000_000
"""More than any row of a trace has."""
_GIB: Final = 1 << 30


def scaled_settings(time_scale: float) -> dict[str, object]:
    """Return what a service is to be told whose servers are simulated at that scale."""
    # By the scheduler's clock: servers that a busy machine lets wait are not sick.
    return {"time_scale": time_scale, "stall_after_s": min(STALL_AFTER_S / time_scale, 86_400.0)}


class Stage:
    """Files for a service in a directory, and what its servers leave there.

    Each family has a base model of its own, with the figures of its model: so a server can be told by what it loads.
    """

    def __init__(self, trace: Trace, directory: Path, time_scale: float) -> None:
        self.fleet_file = directory / "fleet.toml"
        self._trace = trace
        self._directory = directory.absolute()
        self._time_scale = time_scale
        self._load_log = self._directory / "adapter-loads.log"
        self._base_models = {family.id: f"family-{number}" for number, family in enumerate(trace.families)}

    @property
    def settings(self) -> dict[str, object]:
        """What the service is to be told beside the fleet file."""
        return {
            "catalogue": self._directory / "catalogue.toml",
            "shutdown_grace_s": GRACE_S,
            "commit_interval_s": 0.1,
            **scaled_settings(self._time_scale),
        }

    def base_model(self, family_id: str) -> str:
        """Return what jobs of a family call their base model."""
        return self._base_models[family_id]

    def write(self) -> None:
        """Write the files."""
        models = {model.name: model for model in self._trace.models}
        entries = [
            _catalogue_entry(self.base_model(family.id), models[family.model]) for family in self._trace.families
        ]
        (self._directory / "catalogue.toml").write_text("[models]\n" + "".join(entries), encoding="utf-8")
        servers = ServerModels(self._trace)
        slots = [self._slot(number, slot, servers) for number, slot in enumerate(self._trace.slots)]
        self.fleet_file.write_text("\n".join(slots), encoding="utf-8")

    def adapter_loads(self) -> int:
        """Return how often an adapter was loaded, on whatever server."""
        return len(self._load_log.read_text(encoding="utf-8").splitlines()) if self._load_log.exists() else 0

    def _slot(self, number: int, slot: TraceSlot, servers: ServerModels) -> str:
        speed_file = self._directory / f"speeds-{number}.json"
        speeds = {
            _hub_id(self.base_model(family.id)): speed_of(model, slot.speed)
            for family in self._trace.families
            if (model := servers.on_slot(family.id, slot)) is not None
        }
        speed_file.write_text(json.dumps(speeds, indent=2), encoding="utf-8")
        node = slot.node or slot.id
        values = {
            "time_scale": repr(self._time_scale),
            # A start takes what the speed file says.
            "startup_delay_s": "0",
            "speed_file": str(speed_file),
            "node_cache": str(self._directory / "nodes" / str(self._node_number(node))),
            "load_log": str(self._load_log),
            # Whatever kills this process, its servers end with it.
            "exit_with": str(os.getpid()),
        }
        fields: dict[str, Any] = {
            "id": f"slot-{number}",
            "gpus": [number],
            "template": "simulator",
            "gpu_kind": slot.kind,
            "gpu_memory_gib": slot.memory_bytes / _GIB,
            "node": f"node-{self._node_number(node)}",
            "grace_s": GRACE_S / self._time_scale,
        }
        # What JSON says of texts, numbers and lists, TOML says too.
        lines = [f"{name} = {json.dumps(value)}\n" for name, value in fields.items()]
        told = ", ".join(f"{name} = {json.dumps(value)}" for name, value in values.items())
        return "[[slots]]\n" + "".join(lines) + f"values = {{ {told} }}\n"

    def _node_number(self, node: str) -> int:
        nodes = list(dict.fromkeys(slot.node or slot.id for slot in self._trace.slots))
        return nodes.index(node)


def _hub_id(base_model: str) -> str:
    return f"trace/{base_model}"


def _catalogue_entry(name: str, model: TraceModel) -> str:
    return (
        f'{name} = {{ hf_id = "{_hub_id(name)}", parameters = {model.parameters}, context_length = {CONTEXT_TOKENS}, '
        f"bytes_per_weight = {model.weight_bytes / model.parameters!r}, "
        f"kv_bytes_per_token = {model.kv_bytes_per_token} }}\n"
    )
