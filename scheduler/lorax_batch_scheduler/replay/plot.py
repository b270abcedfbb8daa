"""A picture of replays: what each slot hosted over time, and when jobs ended, one panel for each policy."""

import math
from collections.abc import Iterable, Sequence
from typing import Final

from lorax_batch_scheduler.replay.cluster import Stay
from lorax_batch_scheduler.replay.job_run import JobRun
from lorax_batch_scheduler.replay.plot_scale import TimeScale, moment
from lorax_batch_scheduler.replay.plot_svg import Picture, family_colour, shortened
from lorax_batch_scheduler.replay.report import PolicyRun, Report, lateness_s
from lorax_batch_scheduler.replay.trace import Trace

WIDTH: Final = 1280
LEFT: Final = 170
RIGHT: Final = 30
LANE: Final = 16
GAP: Final = 4
MARKS: Final = 26
JOB_LANE: Final = 12
NAMED_JOBS: Final = 60
"""So many jobs have a line each; of more only ends and deadlines are marked, all on one line."""
WAITING: Final = 0.35
LEGEND_FAMILIES: Final = 30
NAME_CHARACTERS: Final = 24
IN_TIME, MISSED, FAILED, GRID = "#444444", "#d62728", "#bbbbbb", "#e6e6e6"


def plot_report(report: Report) -> bytes:
    """Return an SVG picture: slots over time, families by colour, starts hatched; below, jobs and their deadlines."""
    trace = report.trace
    ends = [job.finish for run in report.runs for job in run.outcome.jobs if job.finish is not None]
    stays = [stay.end for run in report.runs for stay in run.outcome.stays]
    span = max([*ends, *stays, report.bounds.makespan_s, 1.0])
    scale = TimeScale(left=LEFT, width=WIDTH - LEFT - RIGHT, span_s=span * 1.02)
    name = trace.name or "trace"
    picture = Picture(WIDTH, f"Replay of {name}")
    picture.text(10, 24, shortened(name, 120), size=16, bold=True)
    y = _draw_legend(picture, trace, 44)
    for run in report.runs:
        y = _Panel(picture, report, run, scale).draw(y + 14)
    return picture.to_svg()


def _draw_legend(picture: Picture, trace: Trace, y: float) -> float:
    entries = [(family.id, family_colour(number)) for number, family in enumerate(trace.families[:LEGEND_FAMILIES])]
    width, columns = 205, (WIDTH - 20) // 205
    for number, (name, colour) in enumerate(entries):
        x, row = 10 + number % columns * width, y + number // columns * 18
        picture.rect(x, row - 10, 14, 12, colour)
        picture.text(x + 20, row, shortened(name, NAME_CHARACTERS))
    y += math.ceil(len(entries) / columns) * 18
    if (hidden := len(trace.families) - len(entries)) > 0:
        picture.text(10, y, f"and {hidden} more families: the pointer shows the name of each server's")
        y += 18
    return _draw_signs(picture, y)


def _draw_signs(picture: Picture, y: float) -> float:
    picture.rect(10, y - 10, 14, 12, family_colour(0))
    picture.rect(10, y - 10, 14, 12, "url(#hatch)")
    picture.text(30, y, "starting")
    picture.rect(110, y - 10, 14, 12, FAILED)
    picture.text(130, y, "slot away")
    _mark_end(picture, 225, y - 10, family_colour(0))
    picture.text(235, y, "a job ends")
    _mark_deadline(picture, 325, y - 4, IN_TIME)
    picture.text(335, y, "deadline met")
    _mark_deadline(picture, 435, y - 4, MISSED)
    picture.text(445, y, "deadline missed")
    picture.line(560, y - 11, 560, y + 2, IN_TIME, dashed=True)
    picture.text(568, y, "no schedule can end before this")
    picture.rect(770, y - 7, 14, 4, family_colour(0), opacity=WAITING)
    picture.text(790, y, "a job waits")
    picture.rect(870, y - 9, 14, 8, family_colour(0))
    picture.text(890, y, "a job runs")
    return y + 6


class _Panel:
    """The picture of one policy."""

    def __init__(self, picture: Picture, report: Report, run: PolicyRun, scale: TimeScale) -> None:
        self._picture = picture
        self._trace = report.trace
        self._bound_s = report.bounds.makespan_s
        self._run = run
        self._scale = scale
        self._colours = {family.id: family_colour(number) for number, family in enumerate(report.trace.families)}

    def draw(self, top: float) -> float:
        """Draw it from `top` on; return where it ends."""
        measures = self._run.measures
        title = (
            f"{self._run.policy}: makespan {moment(measures.makespan_s)}" if math.isfinite(measures.makespan_s) else ""
        )
        title = title or f"{self._run.policy}: some jobs never end"
        detail = f" ({measures.makespan_ratio:.2f} x the bound), {measures.cold_starts} starts, "
        self._picture.text(10, top + 12, title + detail + f"{measures.deadline_misses} deadlines missed", bold=True)
        begin = y = top + 24
        rows: list[tuple[str, float, list[list[Stay]]]] = []
        for slot in self._trace.slots:
            lanes = _lanes(stay for stay in self._run.outcome.stays if stay.slot_id == slot.id)
            rows.append((slot.id, y, lanes))
            y += max(len(lanes), 1) * LANE + GAP
        jobs = self._run.outcome.jobs
        end = y + (MARKS if len(jobs) > NAMED_JOBS else len(jobs) * JOB_LANE + 2 * GAP)
        self._draw_grid(begin, end)
        for slot_id, row, lanes in rows:
            self._draw_slot(slot_id, row, lanes)
        if len(jobs) > NAMED_JOBS:
            self._mark_jobs(y)
        else:
            for number, job in enumerate(sorted(jobs, key=lambda job: (job.trace.arrival_s, job.number))):
                self._draw_job(job, y + GAP + number * JOB_LANE)
        bound = self._scale.x(self._bound_s)
        self._picture.line(bound, begin - 2, bound, end, IN_TIME, dashed=True)
        return end + 18

    def _draw_grid(self, top: float, bottom: float) -> None:
        for seconds, label in self._scale.ticks():
            x = self._scale.x(seconds)
            self._picture.line(x, top, x, bottom, GRID)
            self._picture.text(x, bottom + 12, label, size=10, anchor="middle")

    def _draw_slot(self, slot_id: str, y: float, lanes: Sequence[Sequence[Stay]]) -> None:
        self._picture.text(LEFT - 8, y + LANE - 4, shortened(slot_id, NAME_CHARACTERS), anchor="end")
        height = max(len(lanes), 1) * LANE
        for failure in self._trace.failures:
            if failure.slot == slot_id and failure.time_s < self._scale.span_s:
                begin, end = self._scale.x(failure.time_s), self._scale.x(failure.time_s + failure.duration_s)
                self._picture.rect(begin, y, end - begin, height - 2, FAILED, hint=f"{slot_id} is away")
        for number, lane in enumerate(lanes):
            for stay in lane:
                self._draw_stay(stay, y + number * LANE)

    def _draw_stay(self, stay: Stay, y: float) -> None:
        begin, end = self._scale.x(stay.start), self._scale.x(stay.end)
        ready = self._scale.x(stay.ready if stay.ready is not None else stay.end)
        hint = (
            f"{stay.family} on {stay.slot_id}: {moment(stay.start)} to {moment(stay.end)}, busy {moment(stay.busy_s)}, "
            f"{stay.adapter_loads} adapter loads, {stay.tokens:,} tokens; ended: {stay.reason}"
        )
        self._picture.rect(begin, y, end - begin, LANE - 2, self._colours[stay.family], hint=hint)
        if ready > begin:
            self._picture.rect(begin, y, ready - begin, LANE - 2, "url(#hatch)", hint=f"{stay.family} starts")

    def _draw_job(self, job: JobRun, y: float) -> None:
        hint, colour = _job_hint(job), self._colours[job.trace.family]
        self._picture.text(LEFT - 8, y + 9, shortened(job.trace.id, NAME_CHARACTERS), size=9, anchor="end")
        arrival, span = job.trace.arrival_s, self._scale.span_s
        finish = job.finish if job.finish is not None else span
        start = min(job.start if job.start is not None else span, finish)
        came, began, ended = (self._scale.x(moment_s) for moment_s in (arrival, start, finish))
        self._picture.rect(came, y + 3, began - came, 4, colour, hint=hint, opacity=WAITING)
        self._picture.rect(began, y + 1, ended - began, 8, colour, hint=hint)
        self._mark_job(job, end=y, deadline=y + 5)

    def _mark_jobs(self, y: float) -> None:
        self._picture.text(LEFT - 8, y + 10, "jobs end", anchor="end")
        self._picture.text(LEFT - 8, y + 22, "deadlines", anchor="end")
        for job in self._run.outcome.jobs:
            self._mark_job(job, end=y + 2, deadline=y + 19)

    def _mark_job(self, job: JobRun, *, end: float, deadline: float) -> None:
        """Mark its end and its deadline, each at its height."""
        hint = _job_hint(job)
        if job.finish is not None:
            _mark_end(self._picture, self._scale.x(job.finish), end, self._colours[job.trace.family], hint=hint)
        due = job.trace.deadline_s
        if due is not None and due <= self._scale.span_s:
            colour = MISSED if lateness_s(job) > 0 else IN_TIME
            _mark_deadline(self._picture, self._scale.x(due), deadline, colour, hint=hint)


def _lanes(stays: Iterable[Stay]) -> list[list[Stay]]:
    """Return stays so that none overlaps another of its lane: one lane, unless servers shared the slot."""
    lanes: list[list[Stay]] = []
    for stay in sorted(stays, key=lambda stay: (stay.start, stay.server_id)):
        free = next((lane for lane in lanes if lane[-1].end <= stay.start), None)
        if free is None:
            lanes.append([stay])
        else:
            free.append(stay)
    return lanes


def _job_hint(job: JobRun) -> str:
    end = f"ends {moment(job.finish)}" if job.finish is not None else "never ends"
    deadline = f", deadline {moment(job.trace.deadline_s)}" if job.trace.deadline_s is not None else ""
    return f"{job.trace.id} ({job.trace.family}): arrives {moment(job.trace.arrival_s)}, {end}{deadline}"


def _mark_end(picture: Picture, x: float, y: float, colour: str, *, hint: str = "") -> None:
    picture.shape([(x - 4, y + 9), (x + 4, y + 9), (x, y)], colour, hint=hint)


def _mark_deadline(picture: Picture, x: float, y: float, colour: str, *, hint: str = "") -> None:
    picture.shape([(x, y - 5), (x + 4, y), (x, y + 5), (x - 4, y)], colour, hint=hint)
