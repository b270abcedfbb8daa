"""A trace, run by a service in wall-clock time."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lorax_batch_scheduler.replay import Trace
from lorax_batch_scheduler.replay.rows import rows_of
from lorax_batch_scheduler.replay.server_model import ServerModels

from lorax_batch_server.rehearsal.row_file import write_rows
from lorax_batch_server.rehearsal.stage import Stage

if TYPE_CHECKING:
    from lorax_batch_client import Client, Job


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveRun:
    """What a service made of a trace; seconds of the trace."""

    finish_s: dict[str, float]
    """By job of the trace: since the trace began."""
    rows: int
    unsuccessful_rows: int
    servers_started: int
    adapter_loads: int

    @property
    def makespan_s(self) -> float:
        """From the beginning of the trace to the end of its last job."""
        return max(self.finish_s.values())


def run_live(
    client: "Client",
    trace: Trace,
    stage: Stage,
    directory: Path,
    time_scale: float,
    *,
    tell: Callable[[str], None] = lambda line: None,
) -> LiveRun:
    """Run a trace by the service that has its stage; rows are uploaded before its time begins."""
    datasets = _upload(client, trace, directory)
    tell(f"{len(datasets):,} datasets are there, the first job comes")
    order = sorted(range(len(trace.jobs)), key=lambda number: trace.jobs[number].arrival_s)
    began, names = time.monotonic(), dict[str, str]()
    for number in order:
        job = trace.jobs[number]
        time.sleep(max(began + job.arrival_s * time_scale - time.monotonic(), 0.0))
        created = client.create_job(datasets[number], base_model=stage.base_model(job.family), priority=job.priority)
        names[created.job_id] = job.id
        tell(f"{(time.monotonic() - began) / time_scale:7,.0f} s  {job.id} comes")
    jobs = _wait(
        client, names, lambda job_id: tell(f"{(time.monotonic() - began) / time_scale:7,.0f} s  {names[job_id]} ends")
    )
    arrivals = {job.id: job.arrival_s for job in trace.jobs}
    # By the service's own clock: how soon a watcher hears of an end is no part of it.
    begin = min(
        job.create_time.timestamp() - arrivals[names[job.job_id]] * time_scale for job in jobs if job.create_time
    )
    return LiveRun(
        finish_s={
            names[job.job_id]: (job.end_time.timestamp() - begin) / time_scale
            for job in jobs
            if job.end_time is not None
        },
        rows=sum(job.counts.total for job in jobs),
        unsuccessful_rows=sum(job.counts.total - job.counts.succeeded for job in jobs),
        servers_started=sum(slot.starts for slot in client.list_slots()),
        adapter_loads=stage.adapter_loads(),
    )


def _upload(client: "Client", trace: Trace, directory: Path) -> list[str]:
    """Return the ids of the jobs' datasets, each checked by the service."""
    models = ServerModels(trace)
    found = []
    for number, job in enumerate(trace.jobs):
        file = directory / f"job-{number}.jsonl"
        write_rows(file, rows_of(job, number, max_tokens=models.row_tokens(job.family)))
        found.append(client.upload_dataset(file, name=f"job-{number}"))
        file.unlink()
    return [client.wait_for_dataset(dataset).dataset_id for dataset in found]


def _wait(client: "Client", job_ids: dict[str, str], on_end: Callable[[str], None]) -> "list[Job]":
    from lorax_batch_client import JobDeleted

    ended: set[str] = set()
    for event in client.watch(job_ids):
        if not isinstance(event, JobDeleted) and event.job.is_terminal and event.job.job_id not in ended:
            ended.add(event.job.job_id)
            on_end(event.job.job_id)
    return [client.get_job(job_id) for job_id in job_ids]
