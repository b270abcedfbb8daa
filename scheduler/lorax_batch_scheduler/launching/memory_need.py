"""Whether a slot has the memory that a server needs."""

import math
from collections.abc import Sequence
from typing import Final

from lorax_batch_scheduler.catalogue import BaseModel
from lorax_batch_scheduler.fleet import Slot
from lorax_batch_scheduler.server_memory import least_memory_bytes

_FOUR_BITS: Final = 0.72
_EIGHT_BITS: Final = 1.15
BYTES_PER_WEIGHT: Final = {
    "awq": _FOUR_BITS,
    "gptq": _FOUR_BITS,
    "bitsandbytes-nf4": _FOUR_BITS,
    "bitsandbytes-fp4": _FOUR_BITS,
    "hqq-4bit": _FOUR_BITS,
    "hqq-3bit": 0.6,
    "hqq-2bit": 0.5,
    "exl2": _EIGHT_BITS,
    "eetq": _EIGHT_BITS,
    "bitsandbytes": _EIGHT_BITS,
    "fp8": _EIGHT_BITS,
    "fp8-kv": _EIGHT_BITS,
}
"""Over all weights, of which embeddings, norms and scales keep 16 bits: an 8B model by awq has 5.7 GB. `exl2` has 2 to
8 bits and does not tell how many: reckoned at the most."""
HALF_SIZE_KV: Final = "fp8-kv"
_KV_BOUND_FACTOR: Final = 0.24


def weight_bytes(model: BaseModel, quantization: str = "") -> int:
    """Return the GPU memory that the weights take; 0: unknown."""
    return round(model.parameters * min(model.bytes_per_weight, BYTES_PER_WEIGHT.get(quantization, 8.0)))


def kv_bytes_per_token(model: BaseModel, quantization: str = "") -> int:
    """Return the KV cache's bytes for each token; 0: unknown.

    Where the catalogue does not tell them: as many as with a head of keys and values for each head of queries and 16
    bits, which grow as the parameters' power of 2/3 (layers x width), and which no decoder of today exceeds.
    """
    known = model.kv_bytes_per_token or round(_KV_BOUND_FACTOR * math.cbrt(model.parameters) ** 2)
    return known // 2 if quantization == HALF_SIZE_KV else known


def need_bytes(model: BaseModel, quantization: str = "") -> int | None:
    """Return the least GPU memory that a server of a model needs; None: unknown, since its size is."""
    if not model.parameters:
        return None
    return least_memory_bytes(weight_bytes(model, quantization), kv_bytes_per_token(model, quantization))


def fits(model: BaseModel, quantization: str, slot: Slot) -> bool:
    """Tell whether a server of the model has room on a slot, as far as is known.

    A slot of unknown memory takes any server, and a slot whose configuration declares the model takes that one: its
    operator knows. A model of unknown size fits nowhere else.
    """
    if not slot.memory_bytes or slot.declared_model in {model.name, model.hf_id}:
        return True
    need = need_bytes(model, quantization)
    return need is not None and need <= slot.memory_bytes


def why_unfit(model: BaseModel, quantization: str, slots: Sequence[Slot]) -> str:
    """Return for people why no slot has room for a server of the model; "" when one has, or there is no slot at all."""
    if not slots or any(fits(model, quantization, slot) for slot in slots):
        return ""
    what = f"{model.name} ({quantization})" if quantization else model.name
    need, largest = need_bytes(model, quantization), max(slot.memory_bytes for slot in slots)
    if need is None:
        return (
            f"the size of {what} is unknown, so no slot of known memory is tried (the largest has {_gib(largest)}): "
            "declare it in the service's catalogue file with parameters, bytes_per_weight and context_length"
        )
    way_out = "ask for a quantization, or give the fleet a larger slot"
    if quantization:
        way_out = "give the fleet a larger slot"
    return f"a server of {what} needs {_gib(need, up=True)}, but the largest slot has {_gib(largest)}: {way_out}"


def _gib(count: int, *, up: bool = False) -> str:
    """Return bytes in GiB; needs are rounded up and sizes down, so that a need that exceeds a size looks like it."""
    tenths, rest = divmod(count * 10, 1 << 30)
    return f"{(tenths + (up and rest > 0)) / 10:.1f} GiB"
