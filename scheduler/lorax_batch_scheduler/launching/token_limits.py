"""How long rows may be on a server, and how many prompt tokens it reads at once."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from lorax_batch_scheduler.catalogue import BaseModel
from lorax_batch_scheduler.fleet import Slot
from lorax_batch_scheduler.launching.custom_arguments import LauncherArgument, count_of, value_of
from lorax_batch_scheduler.launching.data_shape import DataShape
from lorax_batch_scheduler.launching.memory_need import kv_bytes_per_token, weight_bytes
from lorax_batch_scheduler.server_memory import ADAPTER_MEMORY, MIN_KV_TOKENS, kv_tokens

LEAST_TOTAL: Final = 4_096
"""LoRAX's default: rows of later jobs are seldom longer, and shorter limits win nothing."""
ESTIMATE_MARGIN: Final = 2.0
"""Prompt tokens are estimated from characters; code and most scripts but Latin have more of them."""
TEMPLATE_TOKENS: Final = 256
"""What a chat template adds to a prompt."""
KV_SPARE: Final = 32
"""Tokens of the KV cache that no row gets: a block for health checks, and rounding up to blocks of 16."""
PREFILL_EDGE: Final = 50
"""LoRAX's own spare between the longest prompt and the prefill budget."""
PREFILL_BUDGETS: Final = ((24 << 30, 16_384), (12 << 30, 8_192), (0, 4_096))
"""By the memory that is left beside the weights: activations of a prefill take about 60 KiB a token (7B)."""
UNKNOWN_BUDGET: Final = 8_192


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenLimits:
    """In tokens."""

    total: int
    """Prompt and `max_tokens` of a row."""
    input: int
    """The prompt of a row; always less than `total`."""
    prefill: int
    """The prompts of one prefill together."""


def token_limits(
    model: BaseModel,
    quantization: str,
    slot: Slot,
    data: DataShape,
    custom: Sequence[LauncherArgument],
    *,
    adapter_memory: float | None = None,
) -> TokenLimits:
    """Return limits that fit the data, the context length of the model, the memory, and what the caller has set.

    What the caller has set stands; the rest is reckoned around it.
    """
    given_total, given_input = count_of(custom, "--max-total-tokens"), count_of(custom, "--max-input-length")
    given_prefill, batch = (count_of(custom, f"--max-batch-{name}-tokens") for name in ("prefill", "total"))
    chunked = value_of(custom, "--chunked-prefill") == "true"
    budget = given_prefill or _prefill_budget(model, quantization, slot)
    prompt = longest_prompt(data)
    total = given_total
    if total is None:
        caps = (model.context_length, batch, _row_capacity(model, quantization, slot, adapter_memory))
        total = min(cap for cap in (_bucket(prompt + data.largest_max_tokens), *caps) if cap)
        total = max(total, (given_input or 0) + 1, 2)
    longest = given_input
    if longest is None:
        # Prompts as long as the prefill budget cost nothing more; and the fewer tokens there are between the longest
        # prompt and the longest row, the fewer steps the server's warm-up decodes.
        longest = max(1, min(total - 1, max(budget - PREFILL_EDGE, prompt)))
        if given_prefill is not None and not chunked:
            longest = min(longest, given_prefill)
    prefill = given_prefill
    if prefill is None:
        prefill = max(budget, longest + PREFILL_EDGE)
        prefill = min(prefill, batch) if batch else prefill
    return TokenLimits(total=total, input=longest, prefill=prefill)


def longest_prompt(data: DataShape) -> int:
    """Return how many tokens the longest prompt may have."""
    if not data.longest_prompt_tokens:
        return 0
    margin = 1.0 if data.prompts_are_counted else ESTIMATE_MARGIN
    return int(data.longest_prompt_tokens * margin) + TEMPLATE_TOKENS


def _bucket(tokens: int) -> int:
    """Return the next power of two, so that servers for much the same data are alike."""
    return max(LEAST_TOTAL, 1 << (tokens - 1).bit_length())


def _row_capacity(model: BaseModel, quantization: str, slot: Slot, adapter_memory: float | None) -> int | None:
    """Return the tokens of the longest row that is ever admitted: a longer one blocks all behind it. None: unknown.

    Where a server is started though its memory is too small by our reckoning, the reckoning is wrong.
    """
    if not slot.memory_bytes or not model.parameters:
        return None
    reserved = ADAPTER_MEMORY if adapter_memory is None else adapter_memory / slot.gpu_share
    capacity = kv_tokens(
        slot.memory_bytes, weight_bytes(model, quantization), kv_bytes_per_token(model, quantization), reserved
    )
    return capacity - KV_SPARE if capacity >= MIN_KV_TOKENS else None


def _prefill_budget(model: BaseModel, quantization: str, slot: Slot) -> int:
    if not slot.memory_bytes or not model.parameters:
        return UNKNOWN_BUDGET
    left = slot.memory_bytes - weight_bytes(model, quantization)
    return next((budget for least, budget in PREFILL_BUDGETS if left >= least), PREFILL_BUDGETS[-1][1])
