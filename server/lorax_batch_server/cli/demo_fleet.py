"""The demo's fleet: two slots on which the service starts simulated servers itself."""

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from lorax_batch_scheduler.catalogue import BaseModel

SLOTS: Final = 2
GRACE_S: Final = 5.0
GPU_KIND: Final = "a100-80"
GPU_MEMORY_GIB: Final = 80
_SLOT: Final = """
[[slots]]
id = "gpu-{gpu}"
gpus = [{gpu}]
template = "simulator"
gpu_kind = "{kind}"
gpu_memory_gib = {memory}
grace_s = {grace_s}
values = {{ {values} }}
"""


class DemoFleet:
    """A fleet file in a directory, and what its servers leave there."""

    def __init__(self, directory: Path, time_scale: float) -> None:
        self.file = directory / "fleet.toml"
        self._directory = directory.absolute()
        self._load_log = self._directory / "adapter-loads.log"
        self._time_scale = time_scale

    def write(self, models: "Iterable[BaseModel]") -> None:
        """Write the file; servers of these models are as fast as a replay takes them to be."""
        speed_file = self._directory / "speeds.json"
        speed_file.write_text(json.dumps({model.hf_id: _speed_of(model) for model in models}), encoding="utf-8")
        values = {
            "time_scale": repr(self._time_scale),
            # A start takes what the speed file says.
            "startup_delay_s": "0",
            "speed_file": str(speed_file),
            "node_cache": str(self._directory / "node"),
            "load_log": str(self._load_log),
            # Whatever kills the demo, its servers end with it.
            "exit_with": str(os.getpid()),
        }
        # What JSON says of texts TOML says too.
        told = ", ".join(f"{name} = {json.dumps(value)}" for name, value in values.items())
        slots = [
            _SLOT.format(gpu=gpu, kind=GPU_KIND, memory=GPU_MEMORY_GIB, grace_s=GRACE_S / self._time_scale, values=told)
            for gpu in range(SLOTS)
        ]
        self.file.write_text("".join(slots).lstrip(), encoding="utf-8")

    def adapter_loads(self) -> int:
        """Return how often an adapter was loaded, on whatever server."""
        return len(self._load_log.read_text(encoding="utf-8").splitlines()) if self._load_log.exists() else 0


def _speed_of(model: "BaseModel") -> dict[str, float]:
    from lorax_batch_scheduler.replay.server_model import server_model
    from lorax_batch_scheduler.replay.trace import GPU_KINDS, TraceFamily, TraceModel

    from lorax_batch_server.rehearsal.speeds import speed_of

    traced = TraceModel(
        name=model.name,
        parameters=model.parameters,
        weight_bytes=model.weight_bytes,
        kv_bytes_per_token=model.kv_bytes_per_token or 1,
    )
    family = TraceFamily(id=model.name, model=model.name)
    made = server_model(GPU_KINDS[GPU_KIND], GPU_MEMORY_GIB << 30, traced, family)
    assert made is not None, f"{model.name} fits"
    return speed_of(made, 1.0)
