"""How long a GPU takes for each step, as estimates for Mistral-7B in fp16."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """Step times of one GPU kind, in seconds of model time."""

    decode_base: float
    decode_per_row: float
    prefill_base: float
    prefill_per_token: float
    cold_start: float
    adapter_factor: float = 1.4
    download_median: float = 4.0
    download_shortest: float = 1.0
    download_longest: float = 30.0
    local_download: float = 0.1
    load_median: float = 0.7
    load_shortest: float = 0.2
    load_longest: float = 1.5
    offload: float = 0.05

    def decode(self, rows: int, *, with_adapters: bool) -> float:
        """Return the time of one decode step over that many running rows."""
        step = self.decode_base + self.decode_per_row * rows
        return step * self.adapter_factor if with_adapters else step

    def prefill(self, prompt_tokens: int) -> float:
        """Return the time to read that many prompt tokens in one batch."""
        return self.prefill_base + self.prefill_per_token * prompt_tokens


TIMINGS = {
    "a100": Timing(
        decode_base=0.015, decode_per_row=0.0002, prefill_base=0.015, prefill_per_token=0.0001, cold_start=90.0
    ),
    "h100": Timing(
        decode_base=0.009, decode_per_row=0.00012, prefill_base=0.010, prefill_per_token=0.00004, cold_start=75.0
    ),
}
