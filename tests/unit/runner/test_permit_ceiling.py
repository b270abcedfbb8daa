"""How the in-flight limit follows a server whose permits come and go, in virtual time."""

import heapq
import random
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lorax_batch_scheduler.fleet import ServerLimits
from lorax_batch_scheduler.running.in_flight_limit import InFlightLimit

TICK_S = 0.01
SWEEP_TICKS = 5


class Crowd:
    """A server with so many permits at a time, and a pump that always has rows for it."""

    def __init__(self, permits: Callable[[float], int], *, row_s: float = 1.0, reported: int = 64) -> None:
        self.permits = permits
        self.row_s = row_s
        self.limit = InFlightLimit(
            ServerLimits(
                model_id="m",
                max_concurrent_requests=reported,
                max_total_tokens=4096,
                max_batch_total_tokens=350_000,
                is_lorax=True,
            ),
            None,
        )
        self.now = 0.0
        self.tick = 0
        self.answered = 0
        self.refused = 0
        self._chance = random.Random(7)
        self._running: list[float] = []
        """When the rows that were taken end."""
        self._told: list[float] = []
        """When the rows were sent of whose refusal the pump hears a tick later."""

    def run(self, seconds: float) -> "Crowd":
        """Let time go by."""
        for _ in range(round(seconds / TICK_S)):
            self.tick += 1
            self.now = self.tick * TICK_S
            self._end_rows()
            self._hear_refusals()
            self._send()
            if self.tick % SWEEP_TICKS == 0:
                self.limit.adjust(self.now, self.in_flight, self.in_flight * 100)
                self._send()
                self.limit.sent(self.now, self.in_flight)
        return self

    @property
    def in_flight(self) -> int:
        return len(self._running) + len(self._told)

    def _end_rows(self) -> None:
        while self._running and self._running[0] <= self.now:
            heapq.heappop(self._running)
            self.answered += 1
            self.limit.completed(20)

    def _hear_refusals(self) -> None:
        while self._told:
            sent_at = self._told.pop()
            self.refused += 1
            self.limit.overloaded(self.now, sent_at, self.in_flight)

    def _send(self) -> None:
        while self.in_flight < self.limit.rows:
            if len(self._running) < self.permits(self.now):
                heapq.heappush(self._running, self.now + self.row_s * self._chance.uniform(0.5, 1.5))
            else:
                self._told.append(self.now)


@pytest.mark.parametrize("row_s", [0.05, 0.5, 3.0])
@pytest.mark.parametrize("drop_to", [0, 1, 4, 30])
def test_a_sharp_drop_costs_few_refusals_and_the_return_of_permits_is_used_within_seconds(row_s, drop_to):
    crowd = Crowd(lambda now: drop_to if 60 <= now < 120 else 64, row_s=row_s).run(60)
    assert crowd.refused == 0
    full = crowd.limit.target_rows
    assert full == 57
    answered = crowd.answered
    crowd.run(60)
    assert crowd.refused <= max(30, 0.1 * (crowd.answered - answered))
    if drop_to:
        assert 0.5 * drop_to <= crowd.limit.target_rows <= drop_to + 1
    crowd.run(9 if row_s < 3 else 30)
    assert crowd.limit.target_rows >= 0.9 * full
    refused = crowd.refused
    assert crowd.run(60).refused == refused


def test_a_server_that_always_takes_less_than_it_reports_is_kept_full():
    crowd = Crowd(lambda _: 500, row_s=1.0, reported=1024).run(60)
    answered, refused = crowd.answered, crowd.refused
    crowd.run(60)
    assert crowd.answered - answered >= 0.9 * 60 * 500
    assert crowd.refused - refused < 0.01 * (crowd.answered - answered)


def test_a_burst_of_refusals_leaves_what_the_server_has_taken():
    crowd = Crowd(lambda _: 64)
    limit = crowd.limit
    for left in range(39, 29, -1):
        limit.overloaded(10.0, 9.9, left)
    assert limit.target_rows == min(16, 30)
    limit.restart(57)
    for left in range(39, 29, -1):
        limit.overloaded(20.0, 19.9, left)
    assert limit.target_rows == 30


def test_a_server_that_takes_nothing_is_asked_ever_less_often():
    assert Crowd(lambda _: 0).run(60).refused < 16 + 20


@settings(max_examples=25, deadline=None)
@given(
    steps=st.lists(st.tuples(st.integers(0, 80), st.floats(5, 40)), min_size=1, max_size=5),
    row_s=st.floats(0.05, 2.0),
)
def test_whatever_permits_do_refusals_are_few_and_the_end_is_a_full_server(
    steps: list[tuple[int, float]], row_s: float
) -> None:
    def permits(now: float) -> int:
        ends_at = 0.0
        for count, lasts_s in steps:
            ends_at += lasts_s
            if now < ends_at:
                return count
        return 64

    total_s = sum(lasts_s for _, lasts_s in steps)
    crowd = Crowd(permits, row_s=row_s).run(total_s)
    # A change may cost a burst and some tries; else a refusal is paid for with at least ten rows.
    assert crowd.refused <= 0.1 * crowd.answered + 40 * len(steps)
    crowd.run(45)
    assert crowd.limit.target_rows >= 0.9 * 57
