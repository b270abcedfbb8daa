"""Replaces servers whose limits are too narrow for the rows of a job: plans as if such jobs were a family of their own.

The planner knows families, not token limits. A job that has no room on any server of its family is shown to it as one
of a family without servers: so it starts another server, or switches one over, when that pays as for any family. What
is started then has room for all jobs of the family.
"""

from collections.abc import Collection, Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from typing import Final

from lorax_batch_scheduler.fleet import ServerStatus
from lorax_batch_scheduler.launching.row_need import limits_of, started_limits
from lorax_batch_scheduler.packing import (
    ClusterView,
    FamilyView,
    HostedState,
    JobView,
    PlaceAction,
    ServeJobs,
    StartServer,
    plan,
)
from lorax_batch_scheduler.scheduling.fleet import Fleet
from lorax_batch_scheduler.scheduling.job_book import KnownJob

LONGER: Final = " (longer rows)"
"""Behind the name of a family, in reasons too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRoom:
    """Where the rows of one job have room."""

    too_narrow: frozenset[str] = frozenset()
    """Servers where they have none, whatever these host."""
    memory_bytes: int = 0
    """Of the smallest slot on which a server has room for them; 0: any."""


def rooms_of(jobs: Iterable[KnownJob], fleet: Fleet, elsewhere: Iterable[ServerStatus]) -> dict[str, JobRoom]:
    """Return where the rows of jobs have room; `elsewhere`: servers of other schedulers."""
    limits = {
        launched.server_id: started_limits(launched.arguments)
        for slot in fleet.slots()
        for launched in fleet.on_slot(slot.slot_id)
    }
    limits |= {status.server_id: limits_of(status) for status in (*fleet.servers(), *elsewhere)}
    return {
        known.job.job_id: JobRoom(
            too_narrow=frozenset(server_id for server_id, each in limits.items() if not known.need.fits(*each)),
            memory_bytes=known.need.memory_bytes,
        )
        for known in jobs
        if known.need is not None
    }


def plan_with_room(view: ClusterView, rooms: Mapping[str, JobRoom]) -> list[PlaceAction]:
    """Return what to do; `rooms` by job."""
    actions = plan(with_longer_rows(view, rooms))
    return [_of_family(action) for action in actions]


def with_longer_rows(view: ClusterView, rooms: Mapping[str, JobRoom]) -> ClusterView:
    """Return the view with the jobs that have no room on their servers in families of their own."""
    hosts: dict[str, set[str]] = {}
    for slot in view.slots:
        for server in slot.servers:
            if server.state is not HostedState.DRAINING:
                hosts.setdefault(server.family_id, set()).add(server.server_id)
    jobs = tuple(_placed(job, hosts.get(job.family_id, set()), rooms.get(job.job_id)) for job in view.jobs)
    wanted = {job.family_id for job in jobs}
    families = [*view.families]
    families += [
        replace(family, family_id=family.family_id + LONGER)
        for family in view.families
        if family.family_id + LONGER in wanted
    ]
    return replace(view, jobs=jobs, families=tuple(_sized(each, jobs, rooms, hosts) for each in families))


def _placed(job: JobView, hosts: AbstractSet[str], room: JobRoom | None) -> JobView:
    if not hosts or room is None or not hosts <= room.too_narrow:
        return job
    return replace(job, family_id=job.family_id + LONGER)


def _sized(
    family: FamilyView, jobs: Collection[JobView], rooms: Mapping[str, JobRoom], hosts: Mapping[str, Collection[str]]
) -> FamilyView:
    """Ask for a slot where the first server of a family has room for a job at least."""
    if family.family_id in hosts:
        return family
    needs = [rooms.get(job.job_id, JobRoom()).memory_bytes for job in jobs if job.family_id == family.family_id]
    return replace(family, need_bytes=max(family.need_bytes, min(needs, default=0)))


def _of_family(action: PlaceAction) -> PlaceAction:
    if isinstance(action, StartServer | ServeJobs):
        return replace(action, family_id=action.family_id.removesuffix(LONGER))
    return action
