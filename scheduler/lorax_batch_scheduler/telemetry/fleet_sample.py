"""How servers, slots and queues are at one moment, for whoever watches the service."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Protocol

from lorax_batch_scheduler.fleet import ServerStatus, SlotStatus
from lorax_batch_scheduler.job import JobState
from lorax_batch_scheduler.scheduling.job_book import JobBook, KnownJob

MAX_FAMILIES: Final = 20
"""Callers name as many server configurations as they like: those with the fewest rows are told as one."""
OTHER: Final = "other"


class SampledFleet(Protocol):
    """The slots and servers of this process."""

    def servers(self) -> Sequence[ServerStatus]: ...

    def slot_statuses(self) -> Sequence[SlotStatus]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueSample:
    """The jobs that share a server configuration."""

    family: str
    model: str
    jobs: int
    rows: int
    """Which nobody runs yet."""
    oldest_s: float
    """How long the oldest job has waited of which no row was ever sent; 0: none waits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetSample:
    """All of it."""

    servers: tuple[ServerStatus, ...] = ()
    slots: tuple[SlotStatus, ...] = ()
    drained: frozenset[str] = frozenset()
    queues: tuple[QueueSample, ...] = ()


def take_sample(fleet: SampledFleet, drained: frozenset[str], book: JobBook, now: datetime) -> FleetSample:
    """Look at everything once; on the event loop, which is the only one to change it."""
    return FleetSample(
        servers=tuple(fleet.servers()),
        slots=tuple(fleet.slot_statuses()),
        drained=drained,
        queues=tuple(_queues(book.runnable, now)),
    )


def _queues(jobs: Sequence[KnownJob], now: datetime) -> list[QueueSample]:
    families: dict[str, list[KnownJob]] = {}
    for known in jobs:
        families.setdefault(known.family, []).append(known)
    queues = [_queue(family, known[0].job.base_model_id, known, now) for family, known in families.items()]
    queues.sort(key=lambda queue: (-queue.rows, queue.family))
    if len(queues) <= MAX_FAMILIES:
        return queues
    rest = [known for queue in queues[MAX_FAMILIES - 1 :] for known in families[queue.family]]
    return [*queues[: MAX_FAMILIES - 1], _queue(OTHER, OTHER, rest, now)]


def _queue(family: str, model: str, jobs: Sequence[KnownJob], now: datetime) -> QueueSample:
    waiting = [known.job.create_time for known in jobs if known.job.state in (JobState.QUEUED, JobState.STARTING)]
    return QueueSample(
        family=family,
        model=model,
        jobs=len(jobs),
        rows=sum(left.row_count for known in jobs for left in known.left.values()),
        oldest_s=max((now - min(waiting)).total_seconds(), 0.0) if waiting else 0.0,
    )
