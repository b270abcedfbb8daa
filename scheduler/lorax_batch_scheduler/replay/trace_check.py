"""Checks what the types of a trace can't say: ids, references, times, and that every family fits somewhere."""

from typing import Final

from lorax_batch_scheduler.errors import InvalidInputError
from lorax_batch_scheduler.replay.server_model import kind_of, need_bytes, server_model
from lorax_batch_scheduler.replay.trace import GPU_KINDS, MAX_ROWS, Trace, TraceJob
from lorax_batch_scheduler.replay.trace_field import near

GIB: Final = 1 << 30


def check_trace(trace: Trace) -> None:
    """Check all that refers to something else. Raises `InvalidInputError` with the path of the field."""
    slots = _ids("slots", "id", [slot.id for slot in trace.slots])
    models = _ids("models", "name", [model.name for model in trace.models])
    families = _ids("families", "id", [family.id for family in trace.families])
    tenants = _ids("tenants", "id", [tenant.id for tenant in trace.tenants])
    _ids("jobs", "id", [job.id for job in trace.jobs])
    check_kinds(trace)
    for index, family in enumerate(trace.families):
        _known(f"families[{index}].model", family.model, models, "model")
    for index, failure in enumerate(trace.failures):
        _known(f"failures[{index}].slot", failure.slot, slots, "slot")
    for index, job in enumerate(trace.jobs):
        _known(f"jobs[{index}].family", job.family, families, "family")
        if job.tenant and tenants:
            _known(f"jobs[{index}].tenant", job.tenant, tenants, "tenant")
        _check_job(f"trace.jobs[{index}]", job)
    _check_row_count(trace)
    _check_fit(trace)


def check_kinds(trace: Trace) -> None:
    """Check that the GPUs of all slots are known. Raises `InvalidInputError` with the path of the field."""
    kinds = GPU_KINDS.keys() | trace.gpu_kinds.keys()
    for index, slot in enumerate(trace.slots):
        _known(f"slots[{index}].kind", slot.kind, kinds, "GPU kind")


def _check_job(field: str, job: TraceJob) -> None:
    if not job.rows and job.drawn is None:
        raise InvalidInputError(f"{field}.rows", "is missing or empty: give 'rows' or 'drawn'")
    if job.rows and job.drawn is not None:
        raise InvalidInputError(f"{field}.drawn", "is given beside 'rows': give one of the two")
    if job.deadline_s is not None and job.deadline_s <= job.arrival_s:
        message = f"{job.deadline_s:g} is not after the arrival at {job.arrival_s:g}: both count from the trace's start"
        raise InvalidInputError(f"{field}.deadline_s", message)


def _check_row_count(trace: Trace) -> None:
    total = 0
    for index, job in enumerate(trace.jobs):
        total += job.drawn.count if job.drawn is not None else sum(group.count for group in job.rows)
        if total > MAX_ROWS:
            message = (
                f"with this job there are {total:,} rows, but a trace may have {MAX_ROWS:,}: make its jobs smaller"
            )
            raise InvalidInputError(f"trace.jobs[{index}]", message)


def _check_fit(trace: Trace) -> None:
    unfit = unfit_families(trace)
    for index, family in enumerate(trace.families):
        if family.id in unfit:
            raise InvalidInputError(f"trace.families[{index}].model", unfit[family.id])


def unfit_families(trace: Trace) -> dict[str, str]:
    """Return by id the families that fit on no slot, and why; slots, models and families must be there."""
    models = {model.name: model for model in trace.models}
    unfit: dict[str, str] = {}
    for family in trace.families:
        model = models[family.model]
        if not any(server_model(kind_of(trace, slot), slot.memory_bytes, model, family) for slot in trace.slots):
            largest = max(trace.slots, key=lambda slot: slot.memory_bytes)
            unfit[family.id] = (
                f"'{family.model}' needs {need_bytes(model) / GIB:.1f} GiB of GPU memory and fits on no slot: "
                f"the largest, '{largest.id}', has {largest.memory_bytes / GIB:.1f} GiB"
            )
    return unfit


def _ids(field: str, name: str, ids: list[str]) -> set[str]:
    seen: dict[str, int] = {}
    for index, each in enumerate(ids):
        if each in seen:
            message = f"'{each}' is the {name} of {field}[{seen[each]}] already: each must have its own"
            raise InvalidInputError(f"trace.{field}[{index}].{name}", message)
        seen[each] = index
    return set(seen)


def _known(field: str, value: str, known: "set[str] | frozenset[str]", noun: str) -> None:
    if value not in known:
        raise InvalidInputError(f"trace.{field}", f"'{value}' is no {noun} of the trace{near(value, known)}")
