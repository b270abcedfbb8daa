"""The part of the GPU that a server reserves for adapters."""

import math
from collections.abc import Sequence
from typing import Final

from lorax_batch_scheduler.catalogue import BaseModel
from lorax_batch_scheduler.fleet import Slot
from lorax_batch_scheduler.launching.custom_arguments import LauncherArgument, value_of
from lorax_batch_scheduler.launching.data_shape import DataShape
from lorax_batch_scheduler.launching.memory_need import kv_bytes_per_token, weight_bytes
from lorax_batch_scheduler.server_memory import KV_MEMORY, MIN_KV_TOKENS, OVERHEAD_BYTES

FLAG: Final = "--adapter-memory-fraction"
STATIC_ADAPTERS: Final = ("--adapter-id", "--preloaded-adapter-ids", "--merge-adapter-weights")
"""With one of these nothing is loaded later: what to reserve is the caller's affair."""
WORKING_SET: Final = 16
"""Adapters on the GPU at once. About four have rows in flight; idle ones are evicted as soon as another is wanted."""
LEAST_BYTES: Final = 1 << 30
"""Jobs with larger adapters may come to a server later, and rows of an adapter that has no room fail for good."""
DEFAULT_RANK: Final = 32
LARGEST_SHARE: Final = 0.5

_STEPS: Final = 10_000
"""Fractions have four digits: the next that holds what is wanted, and none that takes from the least KV cache."""
_REFERENCE_PARAMETERS: Final = 7_241_732_096
_BYTES_PER_RANK: Final = 5_250_000
"""Of an adapter of all linear layers in 16 bits, for the reference model; it grows as the parameters' power of 2/3."""


def adapter_memory_fraction(
    model: BaseModel, quantization: str, slot: Slot, data: DataShape, custom: Sequence[LauncherArgument]
) -> float | None:
    """Return the part of the whole GPU's memory to reserve; the caller's own if there is one; None: LoRAX's default.

    It holds the working set, as far as a least KV cache is left beside it.
    """
    given = value_of(custom, FLAG)
    if given is not None:
        return float(given)
    static = any(argument.flag in STATIC_ADAPTERS for argument in custom)
    weights = weight_bytes(model, quantization)
    if static or not slot.memory_bytes or not weights:
        return None
    wanted = max(min(data.adapters, WORKING_SET) * _adapter_bytes(model, data), LEAST_BYTES, data.adapter_bytes)
    least_kv = MIN_KV_TOKENS * kv_bytes_per_token(model, quantization) / KV_MEMORY
    free = slot.memory_bytes - weights - OVERHEAD_BYTES - least_kv
    # LoRAX takes the fraction of the whole GPU, also where the server may use a share of it only.
    gpu_bytes = slot.memory_bytes / slot.gpu_share
    most = math.floor(min(free / gpu_bytes, LARGEST_SHARE * slot.gpu_share) * _STEPS)
    return max(min(math.ceil(wanted / gpu_bytes * _STEPS), most), 1) / _STEPS


def _adapter_bytes(model: BaseModel, data: DataShape) -> float:
    if data.adapter_bytes:
        return data.adapter_bytes
    scale = math.cbrt(model.parameters / _REFERENCE_PARAMETERS) ** 2
    return (data.adapter_rank or DEFAULT_RANK) * _BYTES_PER_RANK * scale
