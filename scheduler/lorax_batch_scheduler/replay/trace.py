"""A trace: slots, models, families, tenants, jobs and failures, as JSON; see docs/trace-format.md.

`trace_file` reads and checks one.
"""

from typing import Annotated, Final

import msgspec

VERSION: Final = 1
MAX_ROWS: Final = 20_000_000
"""Of all jobs together: a replay holds each in memory."""
MAX_S: Final = 10**9
"""About 30 years: more is a mistake of units."""
MAX_AWAY_S: Final = 366 * 86_400
MAX_START_S: Final = 86_400
MAX_STEP_S: Final = 10

_Id = Annotated[str, msgspec.Meta(min_length=1, max_length=500)]
_Positive = Annotated[int, msgspec.Meta(ge=1, le=10**15)]
_Rows = Annotated[int, msgspec.Meta(ge=1, le=MAX_ROWS)]
_Tokens = Annotated[int, msgspec.Meta(ge=1, le=10**6)]
_Seconds = Annotated[float, msgspec.Meta(ge=0, le=MAX_S)]
_Step = Annotated[float, msgspec.Meta(ge=0, le=MAX_STEP_S)]
_Weight = Annotated[float, msgspec.Meta(gt=0, le=10**9)]
_Sigma = Annotated[float, msgspec.Meta(ge=0, le=10)]


class GpuKind(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How fast a GPU is, for a model of 7.24 billion parameters in 16 bits; others are scaled by their weights."""

    decode_base_s: Annotated[float, msgspec.Meta(gt=0, le=MAX_STEP_S)]
    """Of a decode step, whatever runs: the weights are read once."""
    decode_row_s: _Step
    """Of a decode step, for each running row."""
    prefill_base_s: _Step
    prefill_token_s: _Step
    """For each prompt token."""
    cold_start_s: Annotated[float, msgspec.Meta(ge=0, le=MAX_START_S)] = 90.0
    """From the start of a process to its first row, with the weights on the node's disk."""


class TraceSlot(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A GPU, or a share of one, that can host servers."""

    id: _Id
    kind: _Id
    memory_bytes: _Positive
    node: str = ""
    """Slots of one node share downloaded weights and adapters; empty: a node of its own."""
    speed: Annotated[float, msgspec.Meta(ge=0.01, le=100)] = 1.0
    """Against others of its kind; the planner is not told."""


class TraceModel(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A base model."""

    name: _Id
    parameters: _Positive
    weight_bytes: _Positive
    kv_bytes_per_token: _Positive


class TraceFamily(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A server configuration."""

    id: _Id
    model: _Id
    adapter_bytes: _Positive = 84_000_000
    """Of each adapter on the GPU."""


class TraceTenant(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who sends jobs, and their part of the cluster against others."""

    id: _Id
    weight: _Weight = 1.0


class RowGroup(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Rows that are alike."""

    count: _Rows
    prompt_tokens: _Tokens
    output_tokens: _Tokens
    max_tokens: Annotated[int, msgspec.Meta(ge=0, le=10**6)] = 0
    """What the row asks for; 0: as much as it makes."""
    adapter: str = ""


class RowDistribution(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Rows drawn from distributions by a seed: token counts log-normal, adapters by Zipf's law."""

    seed: int
    count: _Rows
    prompt_median: _Weight
    prompt_sigma: _Sigma = 0.6
    output_median: _Weight
    output_sigma: _Sigma = 0.6
    max_tokens: _Tokens = 512
    adapters: tuple[str, ...] = ()
    zipf: _Sigma = 0.0
    """The exponent; 0: all adapters are equally likely."""


class TraceJob(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A job; times are seconds since the trace began."""

    id: _Id
    family: _Id
    arrival_s: _Seconds
    tenant: str = ""
    priority: Annotated[int, msgspec.Meta(ge=-100, le=100)] = 0
    deadline_s: Annotated[float, msgspec.Meta(le=10 * MAX_S)] | None = None
    """Also since the trace began."""
    rows: list[RowGroup] = []
    drawn: RowDistribution | None = None


class Failure(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A slot that is away for a while: what runs there is lost, and starts cold."""

    slot: _Id
    time_s: _Seconds
    duration_s: Annotated[float, msgspec.Meta(ge=0, le=MAX_AWAY_S)]


class Trace(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All that a replay needs."""

    version: int
    name: str = ""
    slots: Annotated[list[TraceSlot], msgspec.Meta(min_length=1)]
    models: Annotated[list[TraceModel], msgspec.Meta(min_length=1)]
    families: Annotated[list[TraceFamily], msgspec.Meta(min_length=1)]
    tenants: list[TraceTenant] = []
    jobs: Annotated[list[TraceJob], msgspec.Meta(min_length=1)]
    failures: list[Failure] = []
    gpu_kinds: dict[str, GpuKind] = {}
    """Further kinds, or other figures for known ones."""


GPU_KINDS: Final = {
    # Estimates for Mistral-7B in fp16. A100 and H100 as the simulated servers have them; the others scaled from the
    # A100 by memory bandwidth (decode base) and by dense fp16 throughput (prefill and rows) of NVIDIA's data sheets.
    "a100-80": GpuKind(decode_base_s=0.015, decode_row_s=0.0002, prefill_base_s=0.015, prefill_token_s=0.0001),
    "a100-40": GpuKind(decode_base_s=0.0196, decode_row_s=0.0002, prefill_base_s=0.015, prefill_token_s=0.0001),
    "h100-80": GpuKind(
        decode_base_s=0.009, decode_row_s=0.00012, prefill_base_s=0.010, prefill_token_s=0.00004, cold_start_s=75.0
    ),
    "h200-141": GpuKind(
        decode_base_s=0.0064, decode_row_s=0.00012, prefill_base_s=0.010, prefill_token_s=0.00004, cold_start_s=75.0
    ),
    "l40s-48": GpuKind(decode_base_s=0.0354, decode_row_s=0.00017, prefill_base_s=0.015, prefill_token_s=0.000086),
    "a10g-24": GpuKind(decode_base_s=0.051, decode_row_s=0.0005, prefill_base_s=0.02, prefill_token_s=0.00025),
}
