"""Makes a trace of what a service has run: what it does not tell is filled in as docs/trace-format.md says."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from lorax_batch_scheduler.catalogue import BaseModel, Catalogue
from lorax_batch_scheduler.errors import InvalidInputError
from lorax_batch_scheduler.replay.record_rows import RecordedRows, row_groups
from lorax_batch_scheduler.replay.trace import VERSION, Trace, TraceFamily, TraceJob, TraceModel, TraceSlot
from lorax_batch_scheduler.replay.trace_check import check_kinds, check_trace, unfit_families

DEFAULT_GPU_KIND: Final = "a100-80"
DEFAULT_MEMORY_BYTES: Final = 80 << 30
UNKNOWN_PARAMETERS: Final = 7_241_732_096
"""Of a model that is in no catalogue: as Mistral-7B's."""
UNKNOWN_KV_BYTES: Final = 131_072
BYTES_PER_WEIGHT: Final = {
    "awq": 0.6,
    "gptq": 0.6,
    "exl2": 0.6,
    "bitsandbytes-nf4": 0.6,
    "bitsandbytes-fp4": 0.6,
    "hqq-4bit": 0.6,
    "hqq-3bit": 0.5,
    "hqq-2bit": 0.4,
    "bitsandbytes": 1.0,
    "eetq": 1.0,
    "fp8": 1.0,
    "fp8-kv": 1.0,
}
"""Scales and the layers that stay in 16 bits included, roughly."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedSlot:
    """A slot as the service tells it."""

    slot_id: str
    gpu_kind: str = ""
    """Empty: unknown."""
    memory_bytes: int = 0
    """0: unknown."""
    node: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedJob:
    """A job as the service tells it."""

    job_id: str
    base_model_id: str
    quantization: str = ""
    lorax_image_tag: str = ""
    backend: str = ""
    custom_args: tuple[str, ...] = ()
    create_time: datetime
    deadline: datetime | None = None
    priority: int = 0
    tenant: str = ""
    rows: RecordedRows

    @property
    def family(self) -> str:
        """What jobs share that share servers, in words; what has no short words as a hash."""
        rest = [self.lorax_image_tag, self.backend, *self.custom_args]
        words = [self.base_model_id, self.quantization]
        if any(rest):
            words.append(hashlib.sha256("\0".join(rest).encode()).hexdigest()[:8])
        return "+".join(word for word in words if word)

    @property
    def model(self) -> str:
        """The weights that its servers hold."""
        return "+".join(word for word in (self.base_model_id, self.quantization) if word)


@dataclass(frozen=True, slots=True, kw_only=True)
class UnfitFamily:
    """A server configuration of jobs that are not in a trace: no slot that is there now has room for it."""

    family: str
    job_count: int
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """A trace, and what of the jobs is not in it."""

    trace: Trace
    unfit: tuple[UnfitFamily, ...]


def trace_from(
    jobs: Iterable[RecordedJob],
    slots: Sequence[RecordedSlot],
    catalogue: Catalogue,
    *,
    name: str = "",
    gpu_kind: str = DEFAULT_GPU_KIND,
    memory_bytes: int = DEFAULT_MEMORY_BYTES,
) -> Recording:
    """Return the trace of these jobs on these slots; it begins when its first job came.

    Jobs without rows, and those whose servers fit on none of the slots, are left out.

    `gpu_kind` and `memory_bytes` are for slots whose GPU is unknown.

    Raises:
        InvalidInputError: there is no job with rows, no slot, or none of the models fits on one.
    """
    kept = sorted((job for job in jobs if job.rows.row_count > 0), key=lambda job: (job.create_time, job.job_id))
    if not kept:
        raise InvalidInputError("jobs", "none of those selected has rows: select others, or record later")
    if not slots:
        raise InvalidInputError("slots", "the service has none: start it with --server URL or a fleet file")
    trace_slots = [
        TraceSlot(
            id=slot.slot_id,
            kind=slot.gpu_kind or gpu_kind,
            memory_bytes=slot.memory_bytes or memory_bytes,
            node=slot.node,
        )
        for slot in slots
    ]
    whole = _trace(name, trace_slots, kept, catalogue)
    check_kinds(whole)
    unfit = unfit_families(whole)
    fit = [job for job in kept if job.family not in unfit]
    trace = _trace(name, trace_slots, fit, catalogue) if fit else whole  # its check says what fits on no slot
    check_trace(trace)
    counts = Counter(job.family for job in kept)
    return Recording(
        trace=trace,
        unfit=tuple(UnfitFamily(family=each, job_count=counts[each], why=why) for each, why in unfit.items()),
    )


def _trace(name: str, slots: list[TraceSlot], jobs: Sequence[RecordedJob], catalogue: Catalogue) -> Trace:
    """Return the trace of jobs, the first one first."""
    begin = jobs[0].create_time
    by_model = {job.model: job for job in jobs}
    return Trace(
        version=VERSION,
        name=name,
        slots=slots,
        models=[_model(job, catalogue.named(job.base_model_id)) for job in by_model.values()],
        families=[TraceFamily(id=job.family, model=job.model) for job in {job.family: job for job in jobs}.values()],
        jobs=[_job(job, begin) for job in jobs],
    )


def _model(job: RecordedJob, known: BaseModel | None) -> TraceModel:
    parameters = (known.parameters if known else 0) or UNKNOWN_PARAMETERS
    per_weight = BYTES_PER_WEIGHT.get(job.quantization, known.bytes_per_weight if known else 2.0)
    kv_bytes = (known.kv_bytes_per_token if known else None) or UNKNOWN_KV_BYTES
    return TraceModel(
        name=job.model,
        parameters=parameters,
        weight_bytes=round(parameters * per_weight),
        kv_bytes_per_token=kv_bytes // 2 if job.quantization == "fp8-kv" else kv_bytes,
    )


def _job(job: RecordedJob, begin: datetime) -> TraceJob:
    arrival_s = (job.create_time - begin).total_seconds()
    deadline_s = (job.deadline - begin).total_seconds() if job.deadline is not None else None
    return TraceJob(
        id=job.job_id,
        family=job.family,
        arrival_s=arrival_s,
        tenant=job.tenant,
        priority=job.priority,
        # A deadline can be moved to before the job came: it could never be met, and says nothing of a plan.
        deadline_s=deadline_s if deadline_s is not None and deadline_s > arrival_s else None,
        rows=row_groups(job.rows),
    )
