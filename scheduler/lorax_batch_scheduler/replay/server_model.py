"""How fast one server is: a family on a GPU kind, with the memory that it has."""

from dataclasses import dataclass
from typing import Final

from lorax_batch_scheduler.replay.trace import GPU_KINDS, GpuKind, Trace, TraceFamily, TraceModel, TraceSlot
from lorax_batch_scheduler.server_memory import ADAPTER_MEMORY, MIN_KV_TOKENS, kv_tokens, least_memory_bytes

REFERENCE_PARAMETERS: Final = 7_241_732_096
REFERENCE_WEIGHT_BYTES: Final = 14_483_464_192
ADAPTER_FACTOR: Final = 1.4
"""A decode step is so much longer when any running row has an adapter (reported: 1.3 to 2)."""
ADAPTER_LOAD_S: Final = 0.7
ADAPTER_OFFLOAD_S: Final = 0.05
ADAPTER_DOWNLOAD_S: Final = 4.0
"""From the hub to a node that has not got it."""
ADAPTER_COPY_S: Final = 0.1
DOWNLOAD_BYTES_PER_S: Final = 250_000_000
"""Of weights that a node has not got yet."""
READ_BYTES_PER_S: Final = 500_000_000
"""Of weights from the node's disk, against those of the reference model."""
MAX_ROWS: Final = 1024
"""Permits of a server that is started for batch work."""
PREFILL_TOKENS: Final = 16_384
"""Of one prefill batch of a server that is started for batch work."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerModel:
    """Step times and capacities of one server; seconds, tokens, rows."""

    decode_base_s: float
    decode_row_s: float
    prefill_base_s: float
    prefill_token_s: float
    cold_start_s: float
    download_s: float
    kv_tokens: int
    max_rows: int = MAX_ROWS
    prefill_tokens: int = PREFILL_TOKENS
    adapter_slots: int = 64
    """Adapters that fit on the GPU at once."""

    def decode_s(self, rows: int, *, with_adapters: bool) -> float:
        """Return the time of one decode step."""
        step = self.decode_base_s + self.decode_row_s * rows
        return step * ADAPTER_FACTOR if with_adapters else step

    def prefill_s(self, prompt_tokens: int) -> float:
        """Return the time to read so many prompt tokens in one batch."""
        return self.prefill_base_s + self.prefill_token_s * prompt_tokens

    def least_s(self, prompt_tokens: float, output_tokens: float, reserved_tokens: float, *, adapter: bool) -> float:
        """Return the least part of a server's time that a row can take, with as many beside it as fit.

        A step over rows that reserve R tokens together takes at least base * R / KV + row * rows, since R <= KV; and
        base * rows / permits + row * rows likewise. Each row's part of that is counted here.
        """
        share = max(reserved_tokens / self.kv_tokens, 1 / self.max_rows)
        step = self.decode_base_s * share + self.decode_row_s
        decode = step * max(output_tokens - 1, 0) * (ADAPTER_FACTOR if adapter else 1.0)
        return decode + self.prefill_token_s * prompt_tokens


def kind_of(trace: Trace, slot: TraceSlot) -> GpuKind:
    """Return the figures of a slot's GPU."""
    return trace.gpu_kinds.get(slot.kind) or GPU_KINDS[slot.kind]


def need_bytes(model: TraceModel) -> int:
    """Return the least GPU memory that a server of a model needs."""
    return least_memory_bytes(model.weight_bytes, model.kv_bytes_per_token)


def server_model(kind: GpuKind, memory_bytes: int, model: TraceModel, family: TraceFamily) -> ServerModel | None:
    """Return how a server of the family runs on so much memory of such a GPU; None when it does not fit."""
    tokens = kv_tokens(memory_bytes, model.weight_bytes, model.kv_bytes_per_token)
    if tokens < MIN_KV_TOKENS:
        return None
    weight = model.weight_bytes / REFERENCE_WEIGHT_BYTES
    compute = model.parameters / REFERENCE_PARAMETERS
    read_s = (model.weight_bytes - REFERENCE_WEIGHT_BYTES) / READ_BYTES_PER_S
    return ServerModel(
        decode_base_s=kind.decode_base_s * weight,
        decode_row_s=kind.decode_row_s * compute,
        prefill_base_s=kind.prefill_base_s,
        prefill_token_s=kind.prefill_token_s * compute,
        cold_start_s=max(kind.cold_start_s + read_s, kind.cold_start_s / 2),
        download_s=model.weight_bytes / DOWNLOAD_BYTES_PER_S,
        kv_tokens=tokens,
        adapter_slots=max(int(ADAPTER_MEMORY * memory_bytes / family.adapter_bytes), 1),
    )
