"""One generation on its way through the engine."""

from dataclasses import dataclass


@dataclass(slots=True, eq=False, kw_only=True)
class Row:
    """A request for one sequence; what is above the blank line never changes.

    Times are seconds of model time. `target_tokens` is how many tokens it will generate, `max_new_tokens` how many
    it may. A `prefill_error` makes the batch fail in which the row is prefilled; `fault` is the fault it comes from.
    """

    id: int
    adapter_id: str
    adapter_source: str
    prompt_tokens: int
    max_new_tokens: int
    target_tokens: int
    arrived_at: float
    streams: bool = False
    prefill_error: str | None = None
    fault: str = ""

    queued_at: float = 0.0
    joined_at: float = 0.0
    first_token_at: float = 0.0
    finished_at: float = 0.0
    blocks: int = 0
    dropped: bool = False

    @property
    def reserved_tokens(self) -> int:
        """The KV tokens it holds from admission to completion."""
        return self.prompt_tokens + self.max_new_tokens - 1
