"""What must hold of an object store beside its database: every object is named by a row, and every named one is there.

True once a service has come to rest: while it works, an object is stored before the row that names it.
"""

from collections.abc import Iterator

from lorax_batch_scheduler.dataset import DatasetState
from lorax_batch_scheduler.object_names import OWNER_KEY
from lorax_batch_scheduler.ports import ObjectStore

from tests.invariants.snapshot import Snapshot, has_ended, read_snapshot


async def object_problems(dsn: str, objects: ObjectStore) -> list[str]:
    """Return what is wrong, a sentence each."""
    snapshot = await read_snapshot(dsn)
    stored = {info.key: info.size_bytes async for info in objects.scan("") if info.key != OWNER_KEY}
    named = dict(_named(snapshot))
    problems = [f"object {key} is named by no row" for key in stored.keys() - named.keys()]
    for key, (size_bytes, owner) in named.items():
        if key not in stored:
            problems.append(f"{owner} names object {key}, which is not there")
        elif stored[key] < size_bytes:
            problems.append(f"{owner} names {size_bytes} bytes of object {key}, which has {stored[key]}")
    known = {row["upload_id"] for row in snapshot.job_outputs}
    problems += [
        f"unfinished upload {upload.upload_id} of {upload.key} is named by no row"
        for upload in await objects.unfinished_uploads("")
        if upload.upload_id not in known
    ]
    return sorted(problems)


def _named(snapshot: Snapshot) -> Iterator[tuple[str, tuple[int, str]]]:
    """Yield key, least size and owner of every object that there should be."""
    for part in snapshot.upload_parts:
        yield part["key"], (part["byte_count"], f"a part of dataset {part['dataset_id']}")
    ready = {row["dataset_id"]: row for row in snapshot.datasets if row["state"] == DatasetState.READY}
    ends: dict[str, int] = {}
    owners: dict[str, str] = {}
    for chunk in snapshot.dataset_chunks:
        if chunk["dataset_id"] in ready:
            key = f"{ready[chunk['dataset_id']]['storage_prefix']}pack-{chunk['pack']:05d}"
            ends[key] = max(ends.get(key, 0), chunk["pack_offset"] + chunk["byte_count"])
            owners[key] = f"dataset {chunk['dataset_id']}"
    for key, end in ends.items():
        yield key, (end, owners[key])
    for job in filter(has_ended, snapshot.jobs):
        for file in (job["output_file"], job["error_file"]):
            if file is not None:
                yield file["key"], (file["byte_count"], f"job {job['job_id']}")
