"""What each job of a trace needs whatever happens."""

from collections.abc import Sequence
from dataclasses import dataclass

from lorax_batch_scheduler.replay.rows import rows_of
from lorax_batch_scheduler.replay.server_model import ADAPTER_FACTOR, ServerModel, ServerModels
from lorax_batch_scheduler.replay.trace import Trace
from lorax_batch_scheduler.replay.virtual_server import VirtualRow


@dataclass(frozen=True, slots=True, kw_only=True)
class JobBound:
    """What a job needs whatever happens; seconds."""

    arrival: float
    released: float
    """None of its rows runs before: it has come, and a server of its family can be ready."""
    work_s: dict[str, float]
    """Least slot-seconds by kind."""
    chain_s: float
    """Its longest row alone on the fastest server."""
    setup_s: float
    """The shortest start of a server of its family."""
    alone_s: float
    """The least time from its arrival to its end if it had the cluster for itself."""
    adapters: frozenset[str]


def job_bounds(trace: Trace, servers: ServerModels) -> list[JobBound]:
    """Return the bound of each job, in the trace's order."""
    # No server of a family is started for nobody: its first is ready a start and, as no node has the weights of any
    # model before, a download after the family's first job came.
    ready: dict[str, float] = {}
    for job in trace.jobs:
        start = min(model.cold_start_s for model in servers.by_kind(job.family).values())
        time = job.arrival_s + start
        ready[job.family] = min(ready.get(job.family, time), time)
    model_of = {family.id: family.model for family in trace.families}
    fetched: dict[str, float] = {}
    for family, time in ready.items():
        model = model_of[family]
        least = time + servers.download_s(family)
        fetched[model] = min(fetched.get(model, least), least)
    ready = {family: max(time, fetched[model_of[family]]) for family, time in ready.items()}
    speeds: dict[str, float] = {}
    for slot in trace.slots:
        speeds[slot.kind] = speeds.get(slot.kind, 0.0) + slot.speed
    slowest = {kind: min(slot.speed for slot in trace.slots if slot.kind == kind) for kind in speeds}
    fastest = max(slot.speed for slot in trace.slots)
    found = []
    for number, job in enumerate(trace.jobs):
        rows = list(rows_of(job, number, max_tokens=servers.row_tokens(job.family)))
        models = servers.by_kind(job.family)
        work = {kind: _least_work(rows, model) for kind, model in models.items()}
        chain = min(max(_alone(row, model) for row in rows) for model in models.values()) / fastest
        released = max(job.arrival_s, ready[job.family])
        adapters = frozenset(row.adapter for row in rows) - {""}
        rate = sum(speeds[kind] / seconds for kind, seconds in work.items() if seconds > 0)
        pouring = 1 / rate if rate else 0.0
        # Its adapters have been loaded by its end, and none before the family's first server was ready.
        lost = len(adapters) * servers.first_load_s() * min(slowest[kind] / max(work[kind], 1e-9) for kind in work)
        loaded = ready[job.family] + pouring * (1 + lost)
        found.append(
            JobBound(
                arrival=job.arrival_s,
                released=released,
                work_s=work,
                chain_s=chain,
                setup_s=min(model.cold_start_s for model in models.values()),
                alone_s=max(released + max(chain, pouring), loaded) - job.arrival_s,
                adapters=adapters,
            )
        )
    return found


def _least_work(rows: Sequence[VirtualRow], model: ServerModel) -> float:
    """Return the least time of a server for these rows: the larger of its parts by KV tokens and by permits."""
    by_tokens = by_rows = 0.0
    for row in rows:
        steps = (row.output_tokens - 1) * (ADAPTER_FACTOR if row.adapter else 1.0)
        prefill = model.prefill_token_s * row.prompt_tokens
        each, base = steps * model.decode_row_s, steps * model.decode_base_s
        by_tokens += prefill + each + base * row.reserved_tokens / model.kv_tokens
        by_rows += prefill + each + base / model.max_rows
    return max(by_tokens, by_rows)


def _alone(row: VirtualRow, model: ServerModel) -> float:
    steps = (row.output_tokens - 1) * (ADAPTER_FACTOR if row.adapter else 1.0)
    prefill = model.prefill_base_s + model.prefill_token_s * row.prompt_tokens
    return prefill + steps * (model.decode_base_s + model.decode_row_s)
