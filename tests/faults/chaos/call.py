"""The calls that the servers received, from their own logs: which rows were called again, and because of what."""

import itertools
import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ANSWERED: Final = 200
BROKEN: Final = 0
"""The simulators' status of a call whose connection went away."""
CLOCK_S: Final = 0.02
"""The time of a file lags behind the clock by a tick of the kernel."""
COMMIT_S: Final = 2.0
"""An answer is committed so much later at most, however slow the machine: 250 ms, and what PostgreSQL takes."""
NOTICE_S: Final = 1.0
"""A broken connection may be noticed so much before or after the death that broke it is written down."""


@dataclass(slots=True, kw_only=True)
class Call:
    """One request for a row; times are seconds of the wall clock."""

    key: str
    server: int
    began: float
    ended: float | None = None
    status: int | None = None
    """None: the server died, or the run ended, before it was answered."""

    def broke_at(self, moment: float) -> bool:
        """Return whether it was in flight then and its connection broke: what it was for has died."""
        in_flight = self.began <= moment and (self.ended is None or self.ended >= moment - CLOCK_S)
        return in_flight and self.status in (BROKEN, None) and (self.ended or moment) <= moment + NOTICE_S

    @property
    def was_refused(self) -> bool:
        """Whether the server asked for it again by its answer."""
        return self.status not in (ANSWERED, BROKEN, None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Repeat:
    """A row that was called again."""

    first: Call
    again: Call


def read_calls(server: int, arrivals: Path, requests: Path, deaths: Iterable[float]) -> list[Call]:
    """Return what one server received over all its lives; `deaths` are the moments at which it was killed."""
    happened: list[tuple[float, int, str, int]] = []
    for line in _lines(arrivals):
        seconds, _, key = line.partition(" ")
        happened.append((float(seconds), 1, key, 0))
    for line in _lines(requests):
        ended = json.loads(line)
        happened.append((ended["time"], 2, ended["key"], ended["status"]))
    happened += [(moment, 0, "", 0) for moment in deaths]
    calls: list[Call] = []
    waiting: dict[str, list[Call]] = defaultdict(list)
    for moment, what, key, status in sorted(happened):
        if what == 0:
            for call in (call for open_calls in waiting.values() for call in open_calls):
                call.ended = moment
            waiting.clear()
        elif what == 1:
            calls.append(Call(key=key, server=server, began=moment))
            waiting[key].append(calls[-1])
        elif waiting[key]:
            call = waiting[key].pop(0)
            call.ended, call.status = moment, status
    return calls


def find_repeats(calls: Iterable[Call], runs: dict[str, Sequence[float]]) -> list[Repeat]:
    """Return the rows that were called again without a new run; `runs` are the moments at which a key was run anew."""
    by_key: dict[str, list[Call]] = defaultdict(list)
    for call in calls:
        by_key[call.key].append(call)
    repeats = []
    for key, of_row in by_key.items():
        of_row.sort(key=lambda call: call.began)
        for first, again in itertools.pairwise(of_row):
            asked_for = any(first.began < moment <= again.began for moment in runs.get(key, ()))
            if not asked_for and not first.was_refused:
                repeats.append(Repeat(first=first, again=again))
    return repeats


def is_due_to(repeat: Repeat, began: float, ended: float) -> bool:
    """Return whether what happened from `began` to `ended` may have made the first call void."""
    first = repeat.first
    # A call that broke before it, or whose answer was long committed, had another reason.
    slack_s = COMMIT_S if first.status == ANSWERED else NOTICE_S
    was_over = first.ended is not None and first.ended < began - slack_s
    return first.began <= ended and repeat.again.began >= began and not was_over


def _lines(path: Path) -> list[str]:
    # A line that a kill cut short has no end, and was never told.
    return path.read_text(encoding="utf-8").split("\n")[:-1] if path.exists() else []
