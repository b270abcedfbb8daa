"""How urgent the parts of a family's work are."""

import pytest
from lorax_batch_scheduler.packing.backlog import Backlog


def test_a_part_of_the_work_is_as_urgent_as_the_jobs_in_it():
    backlog = Backlog([(100, 0.5), (300, 0.1)])
    assert backlog.work_s == 400
    assert backlog.between(0, 50) == pytest.approx(0.5)
    assert backlog.between(100, 300) == pytest.approx(0.1)
    assert backlog.between(0, 400) == pytest.approx((100 * 0.5 + 300 * 0.1) / 400)
    assert backlog.between(50, 5000) == pytest.approx((50 * 0.5 + 300 * 0.1) / 350)
    assert backlog.between(400, 500) == 0


def test_the_strength_is_that_of_the_first_jobs_with_the_set_up_before_them():
    backlog = Backlog([(100, 0.5), (300, 0.1)])
    assert backlog.strength(0) == pytest.approx(0.5)
    assert backlog.strength(400) == pytest.approx(100 * 0.5 / 500)


def test_no_work_is_not_urgent():
    assert Backlog([]).between(0, 1) == 0
    assert Backlog([]).strength(0) == 0
    assert Backlog([(0, 1.0)]).between(0, 1) == 0
