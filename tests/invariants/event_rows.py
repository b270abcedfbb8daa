"""Events: one sequence, dense but for deleted jobs; for each job a chain of allowed moves that ends where it is."""

import itertools
from collections.abc import Iterator

from lorax_batch_scheduler.job import OUTCOMES, TERMINAL_STATES, TRANSITIONS, JobState

from tests.invariants.snapshot import Row, Snapshot, by

_MOVES = {(source, target) for (source, _), target in TRANSITIONS.items()} | {
    (JobState.FINALIZING, outcome) for outcome in OUTCOMES.values() if outcome is not JobState.CANCELLED
}
_BIRTHS = {JobState.VALIDATING, JobState.QUEUED}


def event_problems(snapshot: Snapshot) -> Iterator[str]:
    yield from _sequence(snapshot)
    jobs = {job["job_id"]: job for job in snapshot.jobs}
    stories = by(snapshot.job_events, "job_id")
    oldest_kept = snapshot.event_horizon[0]["sequence"] + 1
    for job_id, events in stories.items():
        yield from _chain(job_id, events, first_known=oldest_kept == 1)
        yield from _last(job_id, events[-1], jobs.get(job_id))
    for job_id in jobs.keys() - stories.keys():
        if jobs[job_id]["sequence"] >= oldest_kept:
            yield f"job {job_id} is at sequence {jobs[job_id]['sequence']}, but has no event"


def _sequence(snapshot: Snapshot) -> Iterator[str]:
    sequences = [event["sequence"] for event in snapshot.job_events]
    horizon, latest = snapshot.event_horizon[0]["sequence"], snapshot.event_clock[0]["sequence"]
    if sequences and not horizon < sequences[0] <= sequences[-1] <= latest:
        yield f"events {sequences[0]} to {sequences[-1]} are kept, but the horizon is {horizon} and the latest {latest}"
    gaps = [after for before, after in itertools.pairwise([horizon, *sequences, latest + 1]) if after != before + 1]
    if gaps and not _swept(snapshot):
        yield f"the sequences of events are not dense from {horizon} to {latest}: gaps before {gaps}"


def _swept(snapshot: Snapshot) -> bool:
    """Tell whether some deleted job has lost its events but the last."""
    stories = by(snapshot.job_events, "job_id").values()
    return any(len(events) == 1 and events[0]["to_state"] is None for events in stories)


def _chain(job_id: str, events: list[Row], *, first_known: bool) -> Iterator[str]:
    """Check one job's events; where old ones are no longer kept, its first one may lead from any state."""
    swept = events[0]["to_state"] is None
    before: str | None = None if first_known and not swept else events[0]["from_state"]
    for nth, event in enumerate(events):
        name = f"event {event['sequence']} of job {job_id}"
        source, target = event["from_state"], event["to_state"]
        if source != before:
            yield f"{name} leads from {source}, but the job was {before}"
        if target is None:
            if source not in TERMINAL_STATES or nth != len(events) - 1:
                yield f"{name} deletes it, but it was {source} and has {len(events) - 1 - nth} later events"
        elif source is None:
            if target not in _BIRTHS:
                yield f"{name} creates it as {target}"
        elif (JobState(source), JobState(target)) not in _MOVES:
            yield f"{name} leads from {source} to {target}, which no move does"
        yield from _told(name, event)
        before = target


def _told(name: str, event: Row) -> Iterator[str]:
    """Check the job that watchers are sent with the event."""
    job = event["job"]
    if (job is None) != (event["to_state"] is None):
        yield f"{name} to {event['to_state']} tells {'nothing' if job is None else 'a job'}"
    if job is None:
        return
    if (job["job_id"], job["state"], job["sequence"]) != (event["job_id"], event["to_state"], event["sequence"]):
        yield f"{name} to {event['to_state']} tells of {job['job_id']} as {job['state']} at {job['sequence']}"
    counts = dict(job["counts"])
    if counts.pop("total") != sum(counts.values()):
        yield f"{name} tells counts that do not add up: {job['counts']}"


def _last(job_id: str, event: Row, job: Row | None) -> Iterator[str]:
    if job is None:
        if event["to_state"] is not None:
            yield f"job {job_id} is gone, but its last event {event['sequence']} led to {event['to_state']}"
    elif (job["state"], job["sequence"]) != (event["to_state"], event["sequence"]):
        yield (
            f"job {job_id} is {job['state']} at sequence {job['sequence']}, but its last event {event['sequence']} "
            f"led to {event['to_state']}"
        )
