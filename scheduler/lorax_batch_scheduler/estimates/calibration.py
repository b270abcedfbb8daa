"""How good bands of ends were, and where their edges must be so that the truth falls between them as often as said.

Edges are in standard deviations of what was foretold: `log(took / foretold) / sigma`. Each is moved a little with every
end that was scored: up when the truth was above it more often than it should be, down when less often (Gibbs and
Candes: adaptive conformal inference). So the share within the band comes right in the long run, whatever the forecast
leaves out. The measured share is kept beside the edges.
"""

import math
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from lorax_batch_scheduler.estimates.learned import Learned, Subject, Topic
from lorax_batch_scheduler.estimates.learned_book import LearnedBook

STAGES: Final = (0.0, 0.25, 0.5, 0.75)
"""A forecast is noted when so large a share of a job's rows has ended; 0: when it was first forecast."""
WANTED: Final = {Topic.ETA_EARLY: 0.1, Topic.ETA_MIDDLE: 0.5, Topic.ETA_LATE: 0.9}
"""So often should the truth be below the edge."""
FIRST: Final = {Topic.ETA_EARLY: -1.28, Topic.ETA_MIDDLE: 0.0, Topic.ETA_LATE: 1.28}
FIRST_STEP: Final = 0.6
LEAST_STEP: Final = 0.1
"""Of an edge, in standard deviations, when it was wrong; it falls with the number of ends."""
MOST: Final = 8.0
KEPT: Final = 1_000
"""Ends that the measured share is told from."""
LEAST_LEFT_S: Final = 5.0
"""What is nearer than this is not worth a forecast."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Edges:
    """The band in standard deviations."""

    early: float
    middle: float
    late: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Noted:
    """What was foretold of a job at one stage."""

    stage: float
    now: float
    finish: float
    """As the fluid plan had it, without correction."""
    log_sigma: float
    early: float
    late: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """A forecast against the truth, in seconds from when it was made."""

    stage: float
    within: bool
    """Whether the job ended within the band."""
    early_s: float
    late_s: float
    took_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Coverage:
    """How often the truth fell within the band."""

    stage: float
    ends: int
    within: float
    """Share; 0.8 is wanted."""
    before: float
    after: float
    median_error: float
    """Median of |log(took / middle of the band)|: 0.2 is about 20 %."""


class Calibration:
    """Notes forecasts of jobs at fixed stages, scores them when jobs end, and corrects the edges."""

    def __init__(self, book: LearnedBook) -> None:
        self._book = book
        self._noted: dict[str, list[Noted]] = {}
        self._scores: dict[float, deque[tuple[int, float]]] = {stage: deque(maxlen=KEPT) for stage in STAGES}

    def edges(self, stage: float) -> Edges:
        """Return where the band ends for a job at that stage."""
        early, middle, late = sorted(self._edge(topic, stage) for topic in WANTED)
        return Edges(early=early, middle=middle, late=late)

    def note(self, job_id: str, fraction: float, *, now: float, finish: float, log_sigma: float) -> None:
        """Note a forecast, if the job has come to a stage that it had none in. `fraction`: of its rows have ended."""
        stage = stage_of(fraction)
        noted = self._noted.setdefault(job_id, [])
        if not math.isfinite(finish) or finish - now < LEAST_LEFT_S or any(each.stage >= stage for each in noted):
            return
        early, _, late = band(now, finish, log_sigma, self.edges(stage))
        noted.append(Noted(stage=stage, now=now, finish=finish, log_sigma=log_sigma, early=early, late=late))

    def ended(self, job_id: str, now: float) -> list[Scored]:
        """A job has ended with a result for every row: score what was foretold of it, and return that."""
        scored: list[Scored] = []
        for noted in self._noted.pop(job_id, []):
            edges = self.edges(noted.stage)
            took = math.log(max(now - noted.now, 0.1) / (noted.finish - noted.now))
            middle = edges.middle * noted.log_sigma
            side = -1 if now < noted.early else 1 if now > noted.late else 0
            self._scores[noted.stage].append((side, abs(took - middle)))
            scored.append(
                Scored(
                    stage=noted.stage,
                    within=side == 0,
                    early_s=noted.early - noted.now,
                    late_s=noted.late - noted.now,
                    took_s=now - noted.now,
                )
            )
            for topic in WANTED:
                self._move(topic, noted.stage, took / noted.log_sigma)
        return scored

    def forget(self, job_id: str) -> None:
        """A job was paused, cancelled or changed: what was foretold of it says nothing any more."""
        self._noted.pop(job_id, None)

    def keep_only(self, job_ids: Iterable[str]) -> None:
        """Forget all other jobs."""
        kept = set(job_ids)
        self._noted = {job_id: noted for job_id, noted in self._noted.items() if job_id in kept}

    def coverage(self) -> list[Coverage]:
        """Return by stage how often the truth fell within the band since this process began."""
        return [_coverage(stage, list(scores)) for stage, scores in self._scores.items() if scores]

    def _edge(self, topic: Topic, stage: float) -> float:
        learned = self._book.get(_subject(topic, stage))
        return learned.mean if learned.observations else FIRST[topic]

    def _move(self, topic: Topic, stage: float, z: float) -> None:
        subject = _subject(topic, stage)
        known = self._book.get(subject)
        edge = known.mean if known.observations else FIRST[topic]
        step = max(FIRST_STEP / math.sqrt(known.observations + 1), LEAST_STEP)
        edge += step * (WANTED[topic] - (1.0 if z < edge else 0.0)) * 2
        edge = min(max(edge, -MOST), MOST)
        self._book.put(subject, Learned(mean=edge, weight=known.weight + 1, observations=known.observations + 1))


def band(now: float, finish: float, log_sigma: float, edges: Edges) -> tuple[float, float, float]:
    """Return (early, expected, late) for an end that the fluid plan puts at `finish`."""
    left = max(finish - now, 0.0)
    early, middle, late = (now + left * math.exp(z * log_sigma) for z in (edges.early, edges.middle, edges.late))
    return early, middle, late


def stage_of(fraction: float) -> float:
    """Return the last stage that a job has come to."""
    return max(stage for stage in STAGES if stage <= max(fraction, 0.0))


def _subject(topic: Topic, stage: float) -> Subject:
    return Subject(topic=topic, detail=f"{stage:g}")


def _coverage(stage: float, scores: list[tuple[int, float]]) -> Coverage:
    count = len(scores)
    errors = sorted(error for _, error in scores)
    return Coverage(
        stage=stage,
        ends=count,
        within=sum(side == 0 for side, _ in scores) / count,
        before=sum(side < 0 for side, _ in scores) / count,
        after=sum(side > 0 for side, _ in scores) / count,
        median_error=errors[count // 2],
    )
