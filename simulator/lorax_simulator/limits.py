"""What a server is launched with, and what `/info` tells of it."""

from dataclasses import dataclass

BLOCK_TOKENS = 16
DEFAULT_CONTEXT = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The launch parameters; defaults are those of LoRAX's main branch on an 80 GB GPU."""

    max_concurrent_requests: int = 1024
    max_input_length: int = DEFAULT_CONTEXT - 1
    max_total_tokens: int = DEFAULT_CONTEXT
    max_batch_prefill_tokens: int = DEFAULT_CONTEXT - 1 + 50
    max_batch_total_tokens: int = 350_000
    waiting_served_ratio: float = 1.2
    max_waiting_tokens: int = 20
    eager_prefill: bool = True
    max_active_adapters: int = 1024
    adapter_cycle_time_s: float = 2.0
    max_best_of: int = 2
    max_stop_sequences: int = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerIdentity:
    """What the server says of itself; `is_main` is False for the older release v0.12.1."""

    model_id: str
    is_main: bool = True
    pipeline_tag: str = "text-generation"
    router_version: str = "0.1.0"
    docker_label: str = "native"

    @property
    def fingerprint(self) -> str:
        """The `system_fingerprint` of every chat answer: the same whatever the image's tag."""
        return f"{self.router_version}-{self.docker_label}"

    @property
    def generates(self) -> bool:
        """Whether the model generates text (else it embeds)."""
        return self.pipeline_tag == "text-generation"
