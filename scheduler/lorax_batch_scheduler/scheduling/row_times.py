"""How long rows take on full servers, and how fast servers are that are filled in part."""

from collections.abc import Iterable, Mapping, Sequence

from lorax_batch_scheduler.estimates import Work
from lorax_batch_scheduler.fleet import ServerStatus


def full_row_s(work: Sequence[Mapping[str, Work]], servers: Iterable[ServerStatus]) -> float:
    """Return how long a row of a family takes on a full server of the quickest kind that was seen at work.

    0: none was, so that it is not known. `work`: of the family's jobs, by GPU kind; `servers`: those of the family,
    which may hold more or fewer rows than the size of their GPU says.
    """
    told: dict[str, ServerStatus] = {server.slot.gpu_kind: server for server in servers}
    times: list[float] = []
    for kind in {kind for each in work for kind in each}:
        here = [each[kind] for each in work if kind in each]
        rows = sum(each.row_count for each in here)
        if rows and all(each.seen for each in here if each.row_count):
            held = sum(each.full_rows * each.row_count for each in here) / rows
            reserved = sum(each.reserved_tokens for each in here) / rows
            times.append(_held_rows(told.get(kind), reserved, held) * sum(each.slot_s for each in here) / rows)
    return min(times, default=0.0)


def speed_at(work: Sequence[Mapping[str, Work]], kind: str, window_part: float) -> float:
    """Return how fast a server that is filled in part does the work of these jobs, against a full one."""
    here = [each[kind] for each in work if kind in each]
    slot_s, steps_s = sum(each.slot_s for each in here), sum(each.steps_s for each in here)
    return slot_s / (slot_s + steps_s * (1 / window_part - 1)) if slot_s else 1.0


def _held_rows(server: ServerStatus | None, reserved: float, expected: float) -> float:
    """Return how many rows a server holds: as it reports itself, else as expected."""
    limits = server.limits if server is not None else None
    if server is None or limits is None or limits.max_batch_total_tokens is None:
        return expected
    rows = min(limits.max_concurrent_requests, server.slot.max_in_flight or limits.max_concurrent_requests)
    return min(rows, max(limits.max_batch_total_tokens / max(reserved, 1.0), 1.0))
