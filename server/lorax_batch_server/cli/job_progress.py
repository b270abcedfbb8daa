"""The progress of jobs: a bar where a person looks on, plain lines where not, JSON lines for programs."""

import sys
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Final, Protocol, Self

from lorax_batch_server.cli.output import event_name, fields_of, print_json, say, show_span
from lorax_batch_server.printable import printable

if TYPE_CHECKING:
    from lorax_batch_client import Job, JobEvent
    from rich.progress import TaskID

PLAIN_SECONDS: Final = 5.0


class JobProgress(Protocol):
    """Shows a job again and again until it ends."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None: ...

    def show(self, event: "JobEvent", job: "Job") -> None: ...


def job_progress(*, as_json: bool, names: Mapping[str, str] | None = None) -> JobProgress:
    """Return the display that fits who reads. `names`: what to call jobs, by id, when there are several."""
    if as_json:
        return JsonProgress()
    return BarProgress(names) if sys.stderr.isatty() else PlainProgress(names)


class _Display:
    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        pass


class JsonProgress(_Display):
    """One JSON object an event."""

    def show(self, event: "JobEvent", job: "Job") -> None:  # the event holds the job
        print_json({"event": event_name(event), **fields_of(event)})


class PlainProgress(_Display):
    """For each job a line at each change of state, and one every few seconds."""

    def __init__(self, names: Mapping[str, str] | None = None, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._names = names or {}
        self._next: dict[str, float] = {}
        self._last: dict[str, str] = {}

    def show(self, event: "JobEvent", job: "Job") -> None:
        mark = f"{job.state.value} {job.reason}"
        if mark != self._last.get(job.job_id) or self._monotonic() >= self._next[job.job_id]:
            self._last[job.job_id] = mark
            self._next[job.job_id] = self._monotonic() + PLAIN_SECONDS
            say(f"{self._names.get(job.job_id, job.job_id)}  {describe_progress(job)}", err=True)


class BarProgress(_Display):
    """A bar for each job that stays in its place."""

    def __init__(self, names: Mapping[str, str] | None = None) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn

        self._progress = Progress(
            TextColumn("{task.description}{task.fields[state]:<10}"),
            BarColumn(bar_width=None),
            TextColumn("{task.percentage:>3.0f}%"),
            TextColumn("{task.fields[details]}", markup=False),
            console=Console(stderr=True),
            expand=True,
        )
        shown = (
            {job_id: f"{name:<{max(map(len, names.values()))}}  " for job_id, name in names.items()} if names else {}
        )
        self._tasks = {job_id: self._add(name) for job_id, name in shown.items()}

    def _add(self, name: str) -> "TaskID":
        return self._progress.add_task(name, total=None, state="", details="")

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        self._progress.stop()

    def show(self, event: "JobEvent", job: "Job") -> None:
        if job.job_id not in self._tasks:
            self._tasks[job.job_id] = self._add("")
        self._progress.update(
            self._tasks[job.job_id],
            total=job.counts.total or None,
            completed=job.counts.ended,
            state=job.state.value,
            details=", ".join(_details(job)),
        )


def describe_progress(job: "Job") -> str:
    """Return state and progress on one line."""
    return ", ".join([job.state.value, *_details(job)])


def _details(job: "Job") -> list[str]:
    counts, parts = job.counts, []
    if job.reason:
        parts.append(printable(job.reason))
    if counts.total:
        parts.append(f"{counts.ended:,}/{counts.total:,} rows")
    if failed := counts.failed + counts.invalid:
        parts.append(f"{failed:,} failed")
    if counts.cancelled or counts.expired:
        parts.append(f"{counts.cancelled + counts.expired:,} not run")
    if job.progress is not None and not job.is_terminal:
        parts.append(f"{job.progress.rows_per_second:,.0f} rows/s")
    if job.usage.total_tokens:
        parts.append(f"{job.usage.total_tokens:,} tokens")
    if job.progress is not None and job.progress.remaining is not None and not job.is_terminal:
        parts.append(f"ETA {show_span(job.progress.remaining)}")
    return parts
