"""`lorax-batch demo`: three jobs on servers that the service starts itself, all of them simulated."""

import shutil
import tempfile
import time
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Annotated, Final

import typer

from lorax_batch_server.cli.child import stopped_by_sigterm
from lorax_batch_server.cli.datasets import InvalidChoice, upload_with_progress
from lorax_batch_server.cli.demo_comparison import print_comparison, record_trace
from lorax_batch_server.cli.demo_fleet import SLOTS, DemoFleet
from lorax_batch_server.cli.demo_jobs import DEMO_JOBS
from lorax_batch_server.cli.exit_code import ExitCode
from lorax_batch_server.cli.fleet_view import model_of
from lorax_batch_server.cli.follow import describe_end, exit_code_of, follow_jobs
from lorax_batch_server.cli.output import print_table
from lorax_batch_server.cli.private_service import private_service

if TYPE_CHECKING:
    from lorax_batch_client import Client, Job

SEED: Final = 1
BAD_ROWS: Final = (
    "on purpose a line of each dataset is no JSON, and a row of summaries and of labels is too long for its model:\n"
    "the '1 failed' of each job from the start on, and the second one of those two; errors.jsonl says why they failed"
)
GRACE_S: Final = 2.0
"""Rows in flight when it is interrupted are of no use to anybody."""


def demo(
    rows: Annotated[int, typer.Option(min=30, max=1_000_000, help="Rows of the three datasets.")] = 2_400,
    directory: Annotated[Path, typer.Option("--dir", help="Where datasets and results go.")] = Path("demo"),
    time_scale: Annotated[
        float, typer.Option(min=0.001, max=1, help="Real seconds a simulated second; 1 is as slow as real.")
    ] = 0.06,
) -> None:
    """Run three jobs on two slots: the service starts simulated LoRAX servers there as they are needed."""
    directory.mkdir(parents=True, exist_ok=True)
    work_dir = Path(tempfile.mkdtemp(prefix=".service-", dir=directory))
    try:
        with stopped_by_sigterm():
            raise typer.Exit(_run(rows, directory, work_dir, time_scale))
    except KeyboardInterrupt:
        typer.echo("\nstopped; nothing is left running", err=True)
        raise
    finally:
        shutil.rmtree(work_dir, ignore_errors=True)


def _run(rows: int, directory: Path, work_dir: Path, time_scale: float) -> ExitCode:
    from lorax_batch_scheduler.catalogue import Catalogue

    from lorax_batch_server.rehearsal.stage import scaled_settings

    chance = Random(SEED)  # noqa: S311 - not for secrets
    for planned in DEMO_JOBS:
        (directory / planned.name).mkdir(exist_ok=True)
        planned.write(directory / planned.name / "dataset.jsonl", round(rows * planned.share), chance)
    catalogue = Catalogue.load()
    fleet = DemoFleet(work_dir, time_scale)
    fleet.write(catalogue.resolve(planned.base_model) for planned in DEMO_JOBS)
    typer.echo(f"starting the service with its own PostgreSQL and {SLOTS} slots for LoRAX servers ...", err=True)
    settings = {**scaled_settings(time_scale), "shutdown_grace_s": GRACE_S}
    with private_service(work_dir / "data", fleet=fleet.file, settings=settings) as client:
        typer.echo(
            f"it is ready; a second of its servers, its rows/s and its ETA takes {time_scale:g} s here", err=True
        )
        began = time.monotonic()
        names = _create_jobs(client, directory)
        created = time.monotonic()
        typer.echo(BAD_ROWS, err=True)
        jobs = follow_jobs(client, names)
        ended = time.monotonic()
        for job in jobs:
            folder = directory / names[job.job_id]
            client.download(job, folder / "results.jsonl", errors=folder / "errors.jsonl")
        _print_end(jobs, names, directory, ended - began)
        starts = _print_fleet(client)
        trace = record_trace(client, time_scale)
    measured_s = (ended - created) / time_scale
    print_comparison(trace, starts=starts, adapter_loads=fleet.adapter_loads(), measured_s=measured_s)
    return next((code for job in jobs if (code := exit_code_of(job)) is not ExitCode.DONE), ExitCode.DONE)


def _create_jobs(client: "Client", directory: Path) -> dict[str, str]:
    """Upload the datasets, then create a job of each; return the jobs' names by id."""
    datasets = {
        job.name: upload_with_progress(
            client, directory / job.name / "dataset.jsonl", name=job.name, on_invalid=InvalidChoice.SKIP
        )
        for job in DEMO_JOBS
    }
    names: dict[str, str] = {}
    for job in DEMO_JOBS:
        labels = {"source": "demo", "name": job.name}
        created = client.create_job(datasets[job.name], base_model=job.base_model, labels=labels)
        names[created.job_id] = job.name
        rows, adapters = datasets[job.name].row_count, len(job.adapters)
        typer.echo(
            f"{job.name}: {rows:,} rows for {job.base_model} with {adapters} adapters, job {created.job_id}", err=True
        )
    return names


def _print_end(jobs: "list[Job]", names: dict[str, str], directory: Path, seconds: float) -> None:
    for job in jobs:
        typer.echo(describe_end(job))
    typer.echo()
    print_table(
        ("JOB", "ROWS", "SUCCEEDED", "PROMPT TOKENS", "COMPLETION TOKENS", "COST", "RESULTS, ERRORS"),
        (
            (
                *(names[job.job_id], job.counts.total, job.counts.succeeded, job.usage.prompt_tokens),
                *(job.usage.completion_tokens, job.cost, f"{directory / names[job.job_id]}/{{results,errors}}.jsonl"),
            )
            for job in jobs
        ),
    )
    rows = sum(job.counts.ended for job in jobs)
    typer.echo(f"{rows:,} rows, {rows / seconds:,.0f} rows/s from the first upload to the end ({seconds:.1f} s)\n")


def _print_fleet(client: "Client") -> int:
    """Print which servers the slots have had, and return how many were started."""
    slots = list(client.list_slots())
    servers = {server.slot_id: server for server in client.list_servers()}
    hosted = [(slot, servers.get(slot.slot_id)) for slot in slots]
    print_table(
        ("SLOT", "GPU", "SERVER NOW", "ADAPTERS WARM", "SERVERS STARTED", "STARTED BECAUSE"),
        (
            (
                *(
                    slot.slot_id,
                    slot.gpu_kind,
                    model_of(server) if server else "",
                    len(server.warm_adapters if server else ()),
                ),
                *(slot.starts, slot.reason),
            )
            for slot, server in hosted
        ),
    )
    return sum(slot.starts for slot in slots)
