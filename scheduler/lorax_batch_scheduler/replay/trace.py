"""A trace: slots, models, families, tenants, jobs and failures, as JSON; see docs/trace-format.md."""

from pathlib import Path
from typing import Annotated, Final

import msgspec

from lorax_batch_scheduler.errors import InvalidInputError

VERSION: Final = 1

_Id = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
_Positive = Annotated[int, msgspec.Meta(gt=0)]
_Count = Annotated[int, msgspec.Meta(ge=0)]
_Seconds = Annotated[float, msgspec.Meta(ge=0)]
_Weight = Annotated[float, msgspec.Meta(gt=0)]


class GpuKind(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How fast a GPU is, for a model of 7.24 billion parameters in 16 bits; others are scaled by their weights."""

    decode_base_s: _Weight
    """Of a decode step, whatever runs: the weights are read once."""
    decode_row_s: _Seconds
    """Of a decode step, for each running row."""
    prefill_base_s: _Seconds
    prefill_token_s: _Seconds
    """For each prompt token."""
    cold_start_s: _Seconds = 90.0
    """From the start of a process to its first row, with the weights on the node's disk."""


class TraceSlot(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A GPU, or a share of one, that can host servers."""

    id: _Id
    kind: _Id
    memory_bytes: _Positive
    node: str = ""
    """Slots of one node share downloaded weights and adapters; empty: a node of its own."""
    speed: _Weight = 1.0
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

    count: _Positive
    prompt_tokens: _Positive
    output_tokens: _Positive
    max_tokens: _Count = 0
    """What the row asks for; 0: as much as it makes."""
    adapter: str = ""


class RowDistribution(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Rows drawn from distributions by a seed: token counts log-normal, adapters by Zipf's law."""

    seed: int
    count: _Positive
    prompt_median: _Weight
    prompt_sigma: _Seconds = 0.6
    output_median: _Weight
    output_sigma: _Seconds = 0.6
    max_tokens: _Positive = 512
    adapters: tuple[str, ...] = ()
    zipf: _Seconds = 0.0
    """The exponent; 0: all adapters are equally likely."""


class TraceJob(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A job; times are seconds since the trace began."""

    id: _Id
    family: _Id
    arrival_s: _Seconds
    tenant: str = ""
    priority: int = 0
    deadline_s: float | None = None
    """Also since the trace began."""
    rows: list[RowGroup] = []
    drawn: RowDistribution | None = None


class Failure(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A slot that is away for a while: what runs there is lost, and starts cold."""

    slot: _Id
    time_s: _Seconds
    duration_s: _Seconds


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


def load_trace(path: Path) -> Trace:
    """Read a trace file. Raises `InvalidInputError` naming the field that is wrong."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InvalidInputError("trace", f"'{path}' can't be read: {error.strerror or error}") from error
    return parse_trace(data)


def parse_trace(data: bytes) -> Trace:
    """Read a trace. Raises `InvalidInputError` naming the field that is wrong."""
    try:
        trace = msgspec.json.decode(data, type=Trace)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidInputError("trace", str(error)) from error
    if trace.version != VERSION:
        raise InvalidInputError("trace.version", f"{trace.version} is not the version that is known, {VERSION}")
    check_trace(trace)
    return trace


def check_trace(trace: Trace) -> None:
    """Check that ids are single and that what they refer to is there. Raises `InvalidInputError`."""
    slots = _ids("slots", [slot.id for slot in trace.slots])
    models = _ids("models", [model.name for model in trace.models])
    families = _ids("families", [family.id for family in trace.families])
    tenants = _ids("tenants", [tenant.id for tenant in trace.tenants])
    _ids("jobs", [job.id for job in trace.jobs])
    kinds = GPU_KINDS.keys() | trace.gpu_kinds.keys()
    for index, slot in enumerate(trace.slots):
        _known(f"slots[{index}].kind", slot.kind, kinds)
    for index, family in enumerate(trace.families):
        _known(f"families[{index}].model", family.model, models)
    for index, failure in enumerate(trace.failures):
        _known(f"failures[{index}].slot", failure.slot, slots)
    for index, job in enumerate(trace.jobs):
        _known(f"jobs[{index}].family", job.family, families)
        if job.tenant and tenants:
            _known(f"jobs[{index}].tenant", job.tenant, tenants)
        if bool(job.rows) == (job.drawn is not None):
            raise InvalidInputError(f"trace.jobs[{index}]", "give either 'rows' or 'drawn'")
        if job.deadline_s is not None and job.deadline_s <= job.arrival_s:
            message = f"{job.deadline_s:g} is not after the arrival at {job.arrival_s:g}"
            raise InvalidInputError(f"trace.jobs[{index}].deadline_s", message)


def _ids(field: str, ids: list[str]) -> set[str]:
    seen: set[str] = set()
    for index, each in enumerate(ids):
        if each in seen:
            raise InvalidInputError(f"trace.{field}[{index}]", f"'{each}' is there twice")
        seen.add(each)
    return seen


def _known(field: str, value: str, known: "set[str] | frozenset[str]") -> None:
    if value not in known:
        raise InvalidInputError(f"trace.{field}", f"'{value}' is not known; known are: {', '.join(sorted(known))}")


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
