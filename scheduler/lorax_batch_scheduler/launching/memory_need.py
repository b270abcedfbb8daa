"""How much GPU memory a server needs."""

import math
from typing import Final

from lorax_batch_scheduler.catalogue import BaseModel
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
