"""What deleted jobs have left behind is noted, so that it goes."""

from collections.abc import Iterator
from itertools import chain

from tests.invariants.snapshot import Snapshot


def remains_problems(snapshot: Snapshot) -> Iterator[str]:
    known = {job["job_id"] for job in snapshot.jobs}
    noted = {row["job_id"]: row["rows_gone"] for row in snapshot.job_remains}
    for job_id in known & noted.keys():
        yield f"job {job_id} is there, but noted as deleted"
    left = {row["job_id"] for row in chain(snapshot.segments, snapshot.file_ranges, snapshot.job_chunks)}
    for job_id in sorted(left - known):
        if noted.get(job_id, True):
            yield f"job {job_id} is deleted, but rows of it are left that nothing will sweep"
