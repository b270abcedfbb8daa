"""A file that says how fast servers are, by model: what a replay of a trace takes its servers for."""

from dataclasses import dataclass
from pathlib import Path

import msgspec

from lorax_simulator.timing import Timing


class SpeedFileError(Exception):
    """The file can't be used; says why."""


class Speed(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Step times and capacities of the servers of one model; seconds of model time, tokens."""

    decode_base_s: float
    decode_row_s: float
    prefill_base_s: float
    prefill_token_s: float
    start_s: float
    """From the start of the process to its first row, with the weights on the node."""
    weights_download_s: float
    """Before that, on a node that has not got the weights."""
    adapter_factor: float
    """A decode step is so much longer when any running row has an adapter."""
    adapter_download_s: float
    adapter_copy_s: float
    """In place of the download, of an adapter that the node has got."""
    adapter_load_s: float
    adapter_offload_s: float
    adapter_slots: int
    """Adapters that fit on the GPU at once."""
    kv_tokens: int

    def timing(self) -> Timing:
        """Return the same as step times; nothing of them is left to chance."""
        return Timing(
            decode_base=self.decode_base_s,
            decode_per_row=self.decode_row_s,
            prefill_base=self.prefill_base_s,
            prefill_per_token=self.prefill_token_s,
            cold_start=self.start_s,
            adapter_factor=self.adapter_factor,
            download_median=self.adapter_download_s,
            download_shortest=self.adapter_download_s,
            download_longest=self.adapter_download_s,
            local_download=self.adapter_copy_s,
            load_median=self.adapter_load_s,
            load_shortest=self.adapter_load_s,
            load_longest=self.adapter_load_s,
            offload=self.adapter_offload_s,
        )


@dataclass(frozen=True, slots=True)
class SpeedFile:
    """Speeds by model id."""

    models: dict[str, Speed]

    @classmethod
    def read(cls, path: Path) -> "SpeedFile":
        """Read a JSON object of model ids and speeds. Raises `SpeedFileError`."""
        try:
            return cls(msgspec.json.decode(path.read_bytes(), type=dict[str, Speed]))
        except (OSError, msgspec.DecodeError) as error:
            raise SpeedFileError(f"{path}: {error}") from error

    def of(self, model_id: str) -> Speed:
        """Return the speed of a model. Raises `SpeedFileError` naming those that are there."""
        speed = self.models.get(model_id)
        if speed is None:
            raise SpeedFileError(f"says nothing of '{model_id}': it has {', '.join(sorted(self.models))}")
        return speed
