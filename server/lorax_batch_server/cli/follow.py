"""Watching a job until it ends."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import typer

from lorax_batch_server.cli.exit_code import ExitCode
from lorax_batch_server.cli.job_progress import job_progress
from lorax_batch_server.cli.output import show_span
from lorax_batch_server.cli.reporting_group import CommandError

if TYPE_CHECKING:
    from lorax_batch_client import Client, Job


def follow_job(client: "Client", job_id: str, *, as_json: bool, hint: str = "") -> "Job":
    """Show a job's progress and return it when it has ended; Ctrl-C ends only the watching, as `hint` says."""
    from lorax_batch_client import JobDeleted

    try:
        with job_progress(as_json=as_json) as display:
            for event in client.watch(job_id):
                if isinstance(event, JobDeleted):
                    raise CommandError(f"job '{job_id}' was deleted", ExitCode.FAILED)
                display.show(event, event.job)
                if event.job.is_terminal:
                    return event.job
        return client.get_job(job_id)
    except KeyboardInterrupt:
        if hint:
            typer.echo(f"\n{hint}", err=True)
        raise


def follow_jobs(client: "Client", names: Mapping[str, str]) -> "list[Job]":
    """Show the progress of several jobs under their names, by id; return them when all have ended."""
    from lorax_batch_client import JobDeleted

    with job_progress(as_json=False, names=names) as display:
        for event in client.watch(names):
            if isinstance(event, JobDeleted):
                raise CommandError(f"job '{event.job_id}' was deleted", ExitCode.FAILED)
            display.show(event, event.job)
    return [client.get_job(job_id) for job_id in names]


def watch_hint(job_id: str) -> str:
    """Return what to say when somebody stops looking at a job of a service."""
    return f"job {job_id} goes on; look again with `lorax-batch jobs watch {job_id}`, stop it with `jobs cancel`"


def describe_end(job: "Job") -> str:
    """Return on one line how a job ended."""
    counts = job.counts
    parts = [f"{counts.total:,} rows", f"{counts.succeeded:,} succeeded", f"{counts.failed + counts.invalid:,} failed"]
    if counts.cancelled or counts.expired:
        parts.append(f"{counts.cancelled + counts.expired:,} not run")
    parts += [f"{job.usage.total_tokens:,} tokens", str(job.cost)]
    if job.start_time is not None and job.end_time is not None:
        span = job.end_time - job.start_time
        parts.append(show_span(span))
        if span.total_seconds() > 0:
            parts.append(f"{counts.ended / span.total_seconds():,.0f} rows/s")
    reason = f" ({job.reason})" if job.reason else ""
    return f"{job.job_id} {job.state.value}{reason}: {', '.join(parts)}"


def exit_code_of(job: "Job") -> ExitCode:
    """Return the exit code that tells how a job ended."""
    from lorax_batch_client import JobState

    return ExitCode.DONE if job.state is JobState.SUCCEEDED else ExitCode.FAILED
