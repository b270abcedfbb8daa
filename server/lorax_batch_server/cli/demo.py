"""`lorax-batch demo`: the main job on simulated servers."""

import contextlib
import shutil
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from lorax_batch_server.cli.child import ChildProcess, stopped_by_sigterm
from lorax_batch_server.cli.datasets import InvalidChoice, upload_with_progress
from lorax_batch_server.cli.exit_code import ExitCode
from lorax_batch_server.cli.follow import describe_end, exit_code_of, follow_job
from lorax_batch_server.cli.private_service import private_service

if TYPE_CHECKING:
    from lorax_batch_client import Client, Job

BASE_MODEL: Final = "mistral-7b-instruct-v0-2"
MODEL_ID: Final = "mistralai/Mistral-7B-Instruct-v0.2"
SIMULATORS: Final = 2
SEED: Final = 1
SIMULATOR_SECONDS: Final = 20.0


def demo(
    rows: Annotated[int, typer.Option(min=1, max=1_000_000, help="Rows of the sample dataset.")] = 2_000,
    directory: Annotated[Path, typer.Option("--dir", help="Where the sample and the results go.")] = Path("demo"),
    time_scale: Annotated[float, typer.Option(min=0, help="Of the simulated servers: 1 is as slow as real.")] = 0.2,
) -> None:
    """Run a sample dataset on two simulated LoRAX servers: embedded everything, nothing to set up."""
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
    from lorax_batch_scheduler.testing.sample import write_sample

    sample = directory / "dataset.jsonl"
    write_sample(sample, rows, SEED)
    with contextlib.ExitStack() as stack:
        typer.echo(f"starting {SIMULATORS} simulated LoRAX servers ...", err=True)
        children = [
            stack.enter_context(_start_simulator(work_dir / f"simulator-{number}.log", time_scale))
            for number in range(SIMULATORS)
        ]
        urls = [child.read_line(SIMULATOR_SECONDS) for child in children]
        typer.echo("starting the service with its own PostgreSQL ...", err=True)
        client = stack.enter_context(private_service(work_dir / "data", urls))
        began = time.monotonic()
        job = _run_job(client, sample)
        seconds = time.monotonic() - began
        client.download(job, directory / "results.jsonl", errors=directory / "errors.jsonl")
    _print_end(job, directory, seconds)
    return exit_code_of(job)


def _start_simulator(log: Path, time_scale: float) -> ChildProcess:
    arguments = ["--port", "0", "--model-id", MODEL_ID, "--time-scale", str(time_scale)]
    return ChildProcess("lorax_simulator", arguments, log, has_output=True)


def _run_job(client: "Client", sample: Path) -> "Job":
    # Some rows of the sample are wrong on purpose: they end in errors.jsonl.
    dataset = upload_with_progress(client, sample, name="demo", on_invalid=InvalidChoice.SKIP)
    job = client.create_job(dataset, base_model=BASE_MODEL, labels={"source": "demo"})
    typer.echo(f"dataset {dataset.dataset_id}, job {job.job_id}", err=True)
    return follow_job(client, job.job_id, as_json=False)


def _print_end(job: "Job", directory: Path, seconds: float) -> None:
    succeeded, ended = job.counts.succeeded, job.counts.ended
    typer.echo(describe_end(job))
    typer.echo(f"{succeeded:,} rows   {directory / 'results.jsonl'}")
    typer.echo(f"{ended - succeeded:,} rows   {directory / 'errors.jsonl'}")
    typer.echo(
        f"{ended:,} rows, {job.usage.total_tokens:,} tokens, {job.cost}, "
        f"{ended / seconds:,.0f} rows/s from upload to end ({seconds:.1f} s)"
    )
