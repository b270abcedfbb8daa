"""How fast a server should be before anything was seen of it: from the model's size and the GPU's figures."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from lorax_batch_scheduler.catalogue import BaseModel
from lorax_batch_scheduler.replay.server_model import (
    REFERENCE_PARAMETERS,
    REFERENCE_WEIGHT_BYTES,
    ServerModel,
    server_model,
)
from lorax_batch_scheduler.replay.trace import GPU_KINDS, TraceFamily, TraceModel
from lorax_batch_scheduler.server_memory import MIN_KV_TOKENS, least_memory_bytes

REFERENCE_KIND: Final = "a100-80"
"""Kinds without figures are taken to be like this one; what is seen of them corrects it."""
DEFAULT_KV_BYTES: Final = 131_072
"""Of a token, where the catalogue does not say: that of a 7-billion model with grouped queries."""
ASSUMED_KV_TOKENS: Final = 16 * MIN_KV_TOKENS
"""Of a slot whose memory is not known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FamilyFacts:
    """What is known of a server configuration before it runs."""

    parameters: int = REFERENCE_PARAMETERS
    weight_bytes: int = REFERENCE_WEIGHT_BYTES
    kv_bytes_per_token: int = DEFAULT_KV_BYTES

    @classmethod
    def of(cls, model: BaseModel) -> "FamilyFacts":
        """Return what the catalogue says; a model of unknown size is taken to be of the usual one."""
        return cls(
            parameters=model.parameters or REFERENCE_PARAMETERS,
            weight_bytes=model.weight_bytes or REFERENCE_WEIGHT_BYTES,
            kv_bytes_per_token=model.kv_bytes_per_token or DEFAULT_KV_BYTES,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """What a server runs on."""

    kind: str
    """As `Slot.gpu_kind`; "" when it is not known."""
    memory_bytes: int = 0
    """0: not known."""


@lru_cache(maxsize=4096)
def expected_server(facts: FamilyFacts, gpu: Gpu) -> ServerModel:
    """Return the model of a server of the family on the GPU; of one that just fits when the memory is too small."""
    kind = GPU_KINDS.get(gpu.kind, GPU_KINDS[REFERENCE_KIND])
    model = TraceModel(
        name="any",
        parameters=facts.parameters,
        weight_bytes=facts.weight_bytes,
        kv_bytes_per_token=facts.kv_bytes_per_token,
    )
    family = TraceFamily(id="any", model="any")
    made = server_model(kind, gpu.memory_bytes, model, family) if gpu.memory_bytes else None
    if made is not None:
        return made
    tokens = MIN_KV_TOKENS if gpu.memory_bytes else ASSUMED_KV_TOKENS
    fitting = least_memory_bytes(facts.weight_bytes, facts.kv_bytes_per_token, tokens)
    made = server_model(kind, fitting, model, family)
    assert made is not None
    return made
