"""The demo's fleet: two slots on which the service starts simulated servers itself."""

import json
import os
from pathlib import Path
from typing import Final

SLOTS: Final = 2
GRACE_S: Final = 5.0
GPU_KIND: Final = "a100-80"
_SLOT: Final = """
[[slots]]
id = "gpu-{gpu}"
gpus = [{gpu}]
template = "simulator"
gpu_kind = "{kind}"
gpu_memory_gib = 80
grace_s = {grace_s}
values = {{ time_scale = "{scale!r}", node_cache = {cache}, load_log = {log}, exit_with = "{pid}" }}
"""


class DemoFleet:
    """A fleet file in a directory, and what its servers leave there."""

    def __init__(self, directory: Path, time_scale: float) -> None:
        self.file = directory / "fleet.toml"
        self._load_log = directory / "adapter-loads.log"
        self._cache = directory / "node"
        self._time_scale = time_scale

    def write(self) -> None:
        """Write the file."""
        # A JSON string is a TOML string. Whatever kills the demo, its servers end with it.
        cache, log = (json.dumps(str(path.absolute())) for path in (self._cache, self._load_log))
        slots = [
            _SLOT.format(
                gpu=gpu,
                kind=GPU_KIND,
                grace_s=GRACE_S,
                scale=self._time_scale,
                cache=cache,
                log=log,
                pid=os.getpid(),
            )
            for gpu in range(SLOTS)
        ]
        self.file.write_text("".join(slots).lstrip(), encoding="utf-8")

    def adapter_loads(self) -> int:
        """Return how often an adapter was loaded, on whatever server."""
        return len(self._load_log.read_text(encoding="utf-8").splitlines()) if self._load_log.exists() else 0
