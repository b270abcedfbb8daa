"""How the in-flight limit follows what a server reports and does."""

from dataclasses import replace

import pytest
from lorax_batch_scheduler.fleet import ServerLimits
from lorax_batch_scheduler.running.in_flight_limit import FIRST_ROWS, FIRST_ROWS_UNKNOWN, InFlightLimit

LORAX = ServerLimits(
    model_id="m",
    max_concurrent_requests=1024,
    max_total_tokens=4096,
    max_batch_total_tokens=350_000,
    is_lorax=True,
)
UNKNOWN = ServerLimits(model_id="m", max_concurrent_requests=128)


class Load:
    """A server that is kept as full as the limit allows."""

    def __init__(self, limits=LORAX, ceiling=None, reservation=100):
        self.limit = InFlightLimit(limits, ceiling)
        self.reservation = reservation
        self.now = 0.0

    @property
    def rows(self):
        return min(self.limit.rows, -(-self.limit.tokens // self.reservation))

    def run(self, seconds=1.0, throughput=lambda rows: 1_000.0, queue_ms=0.0, total_ms=1.0):
        """Answer rows at the rate that the server has with so many in flight."""
        for _ in range(int(seconds * 20)):
            self.now += 0.05
            for _ in range(max(1, int(throughput(self.rows) * 0.05))):
                self.limit.completed(10)
                self.limit.queued(queue_ms, total_ms)
            self.limit.adjust(self.now, self.rows, self.rows * self.reservation)
        return self


def test_a_lorax_server_is_filled_up_to_its_permits_from_few_rows_on():
    load = Load()
    assert load.limit.rows == FIRST_ROWS
    assert load.run(60, throughput=lambda rows: rows).limit.rows == int(0.9 * 1024)


def test_reservations_stay_at_a_quarter_above_the_memory():
    load = Load(reservation=1_040).run(60, throughput=lambda rows: rows)
    assert load.rows == pytest.approx(1.25 * 350_000 / 1_040, rel=0.02)


def test_large_rows_are_not_queued_before_the_server():
    load = Load(reservation=100_000).run(5)
    assert load.limit.tokens + load.reservation <= 350_000


@pytest.mark.parametrize("limits", [LORAX, UNKNOWN])
def test_the_configured_ceiling_holds(limits):
    assert Load(limits, ceiling=20).run(60, throughput=lambda rows: 100.0 * rows).limit.rows == 20


def test_a_ceiling_may_lift_the_guess_for_a_server_that_says_nothing():
    assert Load(UNKNOWN, ceiling=300).limit.max_rows == 300
    assert Load(LORAX, ceiling=5_000).limit.max_rows == int(0.9 * 1024)


def test_exhausted_memory_is_remembered_and_slowly_forgiven():
    load = Load(reservation=1_000).run(60, throughput=lambda rows: rows)
    for _ in range(300):
        load.limit.out_of_memory(load.now, load.now - 1, 300_000)
    assert load.limit.tokens == 240_000, "what fails at once is one failure"
    assert load.run(10, throughput=lambda rows: rows).limit.tokens == 240_000
    assert 240_000 < load.run(60, throughput=lambda rows: rows).limit.tokens < 260_000
    assert load.run(400, throughput=lambda rows: rows).rows == pytest.approx(1.25 * 350, rel=0.02)


def test_one_row_that_exhausts_the_memory_by_itself_is_not_held_against_the_others():
    load = Load(reservation=1_000).run(60, throughput=lambda rows: rows)
    load.limit.out_of_memory(load.now, load.now - 1, 1_000)
    assert load.run(10, throughput=lambda rows: rows).rows == 1
    load.limit.memory_was_enough()
    assert load.run(60, throughput=lambda rows: rows).rows == pytest.approx(1.25 * 350, rel=0.02)


def test_long_queues_in_the_server_shrink_the_limit_but_not_below_half_of_what_fits():
    load = Load(reservation=1_000).run(60, throughput=lambda rows: rows)
    full = load.limit.rows
    load.run(60, throughput=lambda rows: 2_000.0, queue_ms=9_000, total_ms=10_000)
    assert 150 <= load.limit.rows < full


def test_short_waits_for_the_next_admission_do_not():
    load = Load().run(60, throughput=lambda rows: rows)
    full = load.limit.rows
    assert load.run(10, throughput=lambda rows: 2_000.0, queue_ms=700, total_ms=800).limit.rows == full


def test_a_server_that_reports_nothing_gets_more_while_that_makes_it_faster():
    load = Load(UNKNOWN)
    assert load.limit.rows == FIRST_ROWS_UNKNOWN
    load.run(60, throughput=lambda rows: 100.0 * min(rows, 40))
    assert 30 <= load.limit.rows <= 80


def test_a_server_that_does_one_row_at_a_time_is_not_flooded():
    load = Load(UNKNOWN)
    seen = [load.run(1, throughput=lambda rows: 50.0).limit.rows for _ in range(120)]
    assert max(seen) <= 18
    assert sorted(seen)[60] <= 12


def test_the_limit_never_reaches_zero():
    load = Load(UNKNOWN)
    for second in range(100):
        load.limit.overloaded(second * 2.0, second * 2.0 - 0.5, 1)
        load.limit.out_of_memory(second * 2.0 + 1, second * 2.0 + 0.5, 0)
    assert load.limit.target_rows == 1
    assert load.limit.tokens >= 1


def test_trouble_starts_it_over():
    load = Load().run(60, throughput=lambda rows: rows)
    load.limit.restart(1)
    assert load.limit.target_rows == 1


def test_a_part_of_a_server_is_filled_and_all_of_it_again_later():
    load = Load(reservation=300).run(60, throughput=lambda rows: rows)
    full = load.limit.rows
    load.limit.window = 0.25
    load.run(20, throughput=lambda rows: rows)
    assert load.limit.rows == load.limit.target_rows == -(-full // 4)
    assert load.rows == pytest.approx(full / 4, abs=1)
    assert load.limit.fullness(load.rows, 300 * load.rows) == pytest.approx(1.0, abs=0.01)
    assert load.limit.window_part == pytest.approx(0.25, abs=0.01)
    load.limit.window = 1.0
    assert load.run(0.1).limit.rows == full, "what was learned of the server is still known"


def test_tokens_are_filled_in_part_too():
    load = Load(reservation=1_040).run(60, throughput=lambda rows: rows)
    full = load.rows
    load.limit.window = 0.5
    assert load.run(20, throughput=lambda rows: rows).rows == pytest.approx(full / 2, abs=1)


def test_a_server_that_is_full_up_to_its_window_is_not_taken_for_a_full_one():
    load = Load(reservation=1_040)
    load.limit.window = 0.25
    wanted = load.run(1, throughput=lambda rows: rows).limit.target_rows
    load.run(60, throughput=lambda rows: rows)
    assert wanted <= load.limit.target_rows <= 231
    load.limit.window = 1.0
    assert load.run(0.1).limit.target_rows < 300, "it is felt out further from where it was"
    assert load.run(60, throughput=lambda rows: rows).rows == pytest.approx(1.25 * 350_000 / 1_040, rel=0.02)


def test_a_ceiling_of_refusals_outlives_a_narrow_window():
    load = Load().run(60, throughput=lambda rows: rows)
    load.limit.overloaded(load.now, load.now - 0.1, 300)
    load.limit.window = 0.25
    load.run(60, throughput=lambda rows: rows)
    assert load.limit.target_rows == 231
    load.limit.window = 1.0
    assert load.run(0.1).limit.target_rows <= 301


@pytest.mark.parametrize(("permits", "rows"), [(64, 57), (128, 64)])
def test_few_rows_are_never_made_fewer(permits, rows):
    load = Load(replace(LORAX, max_concurrent_requests=permits))
    load.limit.window = 0.1
    assert load.run(60, throughput=lambda rows: rows).limit.rows == rows


def test_a_server_that_tells_no_capacity_is_felt_out_whatever_part_is_wanted():
    load = Load(UNKNOWN)
    load.limit.window = 0.25
    assert load.run(60, throughput=lambda rows: rows * 20.0).limit.rows == 128


def test_a_server_that_is_started_anew_may_hold_more_or_less():
    load = Load().run(60, throughput=lambda rows: rows)
    for permits, limits in ((64, LORAX), (2048, LORAX), (128, UNKNOWN)):
        load.limit.limits = replace(limits, max_concurrent_requests=permits)
        load.limit.restart()
        load.run(60, throughput=lambda rows: rows)
        assert load.limit.max_rows == (int(0.9 * permits) if limits is LORAX else permits)
        assert load.limit.rows <= load.limit.max_rows
