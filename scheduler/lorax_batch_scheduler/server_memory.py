"""How much GPU memory a LoRAX server takes, and how many tokens its KV cache then holds; bytes throughout.

A server takes, of the memory of its GPU: a part for adapters, its weights, what the engine needs beside them, and of
what is left nine tenths for the KV cache. Real servers and the virtual ones of a trace are reckoned alike.
"""

import math
from typing import Final

OVERHEAD_BYTES: Final = 5 << 30
"""Of the engine beside weights and KV cache: CUDA context, graphs, activations."""
ADAPTER_MEMORY: Final = 0.1
"""Of the GPU, reserved for adapters: LoRAX's default."""
KV_MEMORY: Final = 0.9
"""Of what is left, used for the KV cache: LoRAX's default."""
MIN_KV_TOKENS: Final = 4_096
"""Less is not worth a server."""


def kv_tokens(
    memory_bytes: float, weight_bytes: float, kv_bytes_per_token: float, adapter_memory: float = ADAPTER_MEMORY
) -> int:
    """Return how many tokens the KV cache of a server holds; less than 1 when it does not fit at all."""
    left = memory_bytes * (1 - adapter_memory) - weight_bytes - OVERHEAD_BYTES
    return math.floor(left * KV_MEMORY / kv_bytes_per_token)


def least_memory_bytes(weight_bytes: float, kv_bytes_per_token: float, row_tokens: int = 0) -> int:
    """Return the least memory with which a server's KV cache holds `MIN_KV_TOKENS`, and a row of so many tokens."""
    least_kv = max(MIN_KV_TOKENS, row_tokens) * kv_bytes_per_token / KV_MEMORY
    # One more: the sum is rounded where it is taken apart again.
    return math.ceil((weight_bytes + OVERHEAD_BYTES + least_kv) / (1 - ADAPTER_MEMORY)) + 1
