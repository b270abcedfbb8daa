"""`lorax-batch jobs record`: what a service has run, as a trace that `lorax-batch plan` replays."""

import sys
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from lorax_batch_server.cli.deadline import parse_span
from lorax_batch_server.cli.job_selection import parse_job_filter
from lorax_batch_server.cli.options import DEFAULT_TARGET, LabelOption, TargetOption, open_client
from lorax_batch_server.cli.output import show_count
from lorax_batch_server.cli.output_file import check_place, write_whole
from lorax_batch_server.cli.reporting_group import CommandError
from lorax_batch_server.printable import printable

if TYPE_CHECKING:
    from lorax_batch_client import Client, Dataset, Job, JobFilter, Slot
    from lorax_batch_scheduler.catalogue import Catalogue
    from lorax_batch_scheduler.replay.record import RecordedJob, RecordedSlot, Recording
    from lorax_batch_scheduler.replay.record_rows import RecordedRows

GIB: Final = 1 << 30
PAGE: Final = 1_000
SHOWN: Final = 10
"""So many server configurations that were left out are named; the rest is counted."""
STANDARD_OUTPUT: Final = "-"


def record(
    output: Annotated[
        Path, typer.Option("--output", "-o", help="The trace file, replaced when it is there; `-` is standard output.")
    ] = Path("-"),
    since: Annotated[str, typer.Option(help="Only jobs made since: 24h, 7d, or a moment.")] = "",
    until: Annotated[str, typer.Option(help="Only jobs made before: 1h, or a moment.")] = "",
    state: Annotated[list[str], typer.Option(help="Only jobs in that state; may be repeated.")] = [],
    label: LabelOption = [],
    dataset: Annotated[str, typer.Option(help="Only jobs of that dataset id.")] = "",
    base_model: Annotated[str, typer.Option(help="Only jobs of that base model.")] = "",
    name: Annotated[str, typer.Option(help="What to call the trace.")] = "",
    gpu_kind: Annotated[str, typer.Option(help="Of slots that do not tell.  [default: a100-80]")] = "",
    gpu_memory: Annotated[
        float, typer.Option(min=1, max=10_000, metavar="GIB", help="Of slots that do not tell.")
    ] = 80.0,
    catalogue: Annotated[Path | None, typer.Option(help="The service's TOML file with further base models.")] = None,
    target: TargetOption = DEFAULT_TARGET,
) -> None:
    """Write a trace of the jobs that a service has, for `lorax-batch plan`; no prompt and no result is in it."""
    from lorax_batch_scheduler.catalogue import Catalogue
    from lorax_batch_scheduler.errors import InvalidInputError
    from lorax_batch_scheduler.replay import dump_trace
    from lorax_batch_scheduler.replay.record import DEFAULT_GPU_KIND, trace_from

    if str(output) != STANDARD_OUTPUT:
        check_place(output, "--output")
    now = datetime.now(UTC)
    is_selected = _between(_moment("--since", since, now), _moment("--until", until, now))
    selection = parse_job_filter(state, label, dataset, base_model)
    models = Catalogue.load(catalogue)
    with open_client(target) as client:
        jobs = list(record_jobs(client, selection, is_selected, models))
        slots = [record_slot(slot) for slot in client.list_slots()]
    try:
        recording = trace_from(
            jobs,
            slots,
            models,
            name=name,
            gpu_kind=gpu_kind or DEFAULT_GPU_KIND,
            memory_bytes=round(gpu_memory * GIB),
        )
    except InvalidInputError as error:
        raise CommandError(f"{error}{_hint(slots) if error.field.startswith('trace.') else ''}") from error
    _write(output, dump_trace(recording.trace))
    _tell(recording, len(jobs), slots)


def _hint(slots: "Sequence[RecordedSlot]") -> str:
    """Return what can be said of slots that do not tell what they are."""
    options = [
        *(["--gpu-kind"] if not all(slot.gpu_kind for slot in slots) else []),
        *(["--gpu-memory"] if not all(slot.memory_bytes for slot in slots) else []),
    ]
    if not options:
        return ""
    return f"; {' and '.join(options)} describe{'' if len(options) > 1 else 's'} the GPUs of slots that do not tell"


def _tell(recording: "Recording", job_count: int, slots: "Sequence[RecordedSlot]") -> None:
    """Say what the trace has, and what was left out of it."""
    kept, unfit = len(recording.trace.jobs), sum(each.job_count for each in recording.unfit)
    empty = job_count - kept - unfit
    left_out = f", {empty:,} without rows left out" if empty else ""
    typer.echo(f"{show_count(kept, 'job')} on {show_count(len(slots), 'slot')}{left_out}", err=True)
    for each in recording.unfit[:SHOWN]:
        jobs = show_count(each.job_count, "job")
        typer.echo(f"left out: {jobs} of {printable(each.family)}; {printable(each.why)}{_hint(slots)}", err=True)
    if hidden := recording.unfit[SHOWN:]:
        jobs = show_count(sum(each.job_count for each in hidden), "job")
        typer.echo(f"left out: {jobs} of {len(hidden):,} more that fit on no slot", err=True)


def _moment(option: str, text: str, now: datetime) -> datetime | None:
    """Return the moment that an option gives: itself, or so long ago."""
    if not text:
        return None
    found = parse_span(text, option=option, sense="ago")
    return now - found if isinstance(found, timedelta) else found


def _between(since: datetime | None, until: datetime | None) -> "Callable[[Job], bool]":
    if since is not None and until is not None and since >= until:
        raise CommandError(f"--since: {since.isoformat()} is not before --until, {until.isoformat()}")

    def holds(job: "Job") -> bool:
        made = job.create_time
        return made is not None and (since is None or made >= since) and (until is None or made < until)

    return holds


def record_jobs(
    client: "Client", selection: "JobFilter", is_selected: "Callable[[Job], bool]", models: "Catalogue"
) -> "Iterator[RecordedJob]":
    """Yield the jobs of a service that are selected, as a trace is made of them."""
    from lorax_batch_client.errors import NotFoundError
    from lorax_batch_scheduler.replay.record import RecordedJob

    datasets: dict[str, Dataset | None] = {}
    for job in client.list_jobs(selection, page_size=PAGE):
        if not is_selected(job):
            continue
        if job.dataset_id not in datasets:
            try:
                datasets[job.dataset_id] = client.get_dataset(job.dataset_id)
            except NotFoundError:  # deleted: of its rows only the job's counts are left
                datasets[job.dataset_id] = None
        config, made = job.server_config, job.create_time
        assert made is not None
        yield RecordedJob(
            job_id=job.job_id,
            base_model_id=job.base_model_id or config.base_model,
            quantization=config.quantization,
            lorax_image_tag=config.lorax_image_tag,
            backend=config.backend,
            custom_args=tuple(config.custom_args),
            create_time=made,
            deadline=job.deadline,
            priority=job.priority,
            rows=_record_rows(job, datasets[job.dataset_id], models),
        )


def _record_rows(job: "Job", dataset: "Dataset | None", models: "Catalogue") -> "RecordedRows":
    from lorax_batch_scheduler.replay.record_rows import RecordedRows

    shown = dataset.models if dataset is not None else ()
    valid = dataset.row_count - dataset.invalid_row_count if dataset is not None else 0
    adapters: dict[str, int] = {}
    for one in shown:
        named = models.named(one.model)
        adapter = "" if named is not None and named.name == job.base_model_id else one.model
        adapters[adapter] = adapters.get(adapter, 0) + one.row_count
    return RecordedRows(
        row_count=job.counts.total - job.counts.invalid,
        adapters=tuple(adapters.items()),
        hidden_adapters=max(dataset.model_count - len(shown), 0) if dataset is not None else 0,
        hidden_rows=max(valid - sum(adapters.values()), 0),
        succeeded=job.counts.succeeded,
        prompt_tokens=job.usage.prompt_tokens,
        output_tokens=job.usage.completion_tokens,
        estimated_prompt_tokens=dataset.estimated_prompt_tokens / valid if dataset is not None and valid else 0.0,
        max_tokens=job.default_max_tokens,
    )


def record_slot(slot: "Slot") -> "RecordedSlot":
    """Return a slot of a service as a trace is made of it."""
    from lorax_batch_scheduler.replay.record import RecordedSlot

    return RecordedSlot(slot_id=slot.slot_id, gpu_kind=slot.gpu_kind, memory_bytes=slot.memory_bytes, node=slot.node)


def _write(path: Path, data: bytes) -> None:
    if str(path) != STANDARD_OUTPUT:
        write_whole(path, data, "--output")
        return
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()
