"""Jobs as a person reads them."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from lorax_batch_server.cli.output import print_pairs, print_table, say, show, show_span

if TYPE_CHECKING:
    from lorax_batch_client import Job
    from lorax_batch_client.job import Progress


def print_jobs(jobs: Iterable["Job"]) -> None:
    """Print one line a job."""
    columns = ("JOB", "STATE", "MODEL", "ROWS", "ENDED", "FAILED", "TOKENS", "COST", "CREATED", "REASON")
    print_table(
        columns,
        (
            (
                *(job.job_id, job.state, job.base_model_id or job.server_config.base_model, job.counts.total),
                *(job.counts.ended, job.counts.failed + job.counts.invalid, job.usage.total_tokens),
                *(str(job.cost), job.create_time, job.reason),
            )
            for job in jobs
        ),
    )


def print_job(job: "Job") -> None:
    """Print all of one job."""
    counts, progress, config = job.counts, job.progress, job.server_config
    print_pairs(
        [
            ("job", job.job_id),
            ("state", job.state),
            ("reason", job.reason),
            ("queue position", job.queue_position or None),
            ("dataset", job.dataset_id),
            ("base model", job.base_model_id or config.base_model),
            ("quantization", config.quantization),
            ("lorax image tag", config.lorax_image_tag),
            ("custom args", " ".join(config.custom_args)),
            ("backend", config.backend),
            ("adapter source", config.adapter_source),
            ("priority", job.priority or None),
            ("deadline", job.deadline),
            ("labels", ", ".join(f"{key}={value}" for key, value in sorted(job.labels.items()))),
            ("retry of", job.retry_of),
            ("rows", f"{counts.ended:,} of {counts.total:,}"),
            ("  in flight", counts.in_flight or None),
            ("  retrying", counts.retrying or None),
            ("  succeeded", counts.succeeded),
            ("  failed", counts.failed or None),
            ("  invalid", counts.invalid or None),
            ("  cancelled", counts.cancelled or None),
            ("  expired", counts.expired or None),
            ("tokens", f"{job.usage.prompt_tokens:,} prompt + {job.usage.completion_tokens:,} completion"),
            ("cost", str(job.cost)),
            ("rows/s", progress.rows_per_second if progress and not job.is_terminal else None),
            ("remaining", show_span(progress.remaining) if progress and progress.remaining else None),
            ("should end", None if job.is_terminal else _end(progress)),
            ("admission", admission_of(job)),
            ("created", job.create_time),
            ("started", job.start_time),
            ("ended", job.end_time),
            ("expires", job.expire_time),
        ]
    )
    for error in sorted(job.errors, key=lambda error: error.line):
        row = f" ({error.custom_id})" if error.custom_id else ""
        say(f"line {error.line}{row}: {error.code}: {error.message}")


def _end(progress: "Progress | None") -> str | None:
    if progress is None or progress.eta is None:
        return None
    if progress.eta_early is None or progress.eta_late is None:
        return show(progress.eta)
    return f"{show(progress.eta)} (between {show(progress.eta_early)} and {show(progress.eta_late)})"


def admission_of(job: "Job") -> str | None:
    """Return whether its deadline, or its end, can be met, and why; None while nobody has said."""
    if job.is_terminal or job.admission.value == "unknown":
        return None
    return f"{job.admission.value}: {job.admission_reason}" if job.admission_reason else job.admission.value
