"""What the rows look like that a server is started for."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class DataShape:
    """The largest of everything over the jobs that a server is to serve; 0: unknown or none."""

    longest_prompt_tokens: int = 0
    """Estimated, unless `prompts_are_counted`."""
    prompts_are_counted: bool = False
    """Whether a tokenizer has counted them."""
    largest_max_tokens: int = 0
    """The default of the job included, where rows set none."""
    adapters: int = 0
    """How many different ones the rows name."""
    adapter_bytes: int = 0
    """Of the largest adapter's weight files."""
    adapter_rank: int = 0
    """The largest."""
