from datetime import timedelta

import pytest
from lorax_batch_client.errors import BrokenStreamError, ErrorFacts, NotFoundError, ResourceExhaustedError
from lorax_batch_client.errors import UnavailableError as Unavailable
from lorax_batch_client.retry_policy import Patience, RetryPolicy

POLICY = RetryPolicy(
    first_delay=timedelta(seconds=1),
    longest_delay=timedelta(seconds=5),
    connect_for=timedelta(seconds=2),
    reconnect_for=timedelta(seconds=60),
    broken_streams=3,
)
REFUSED = Unavailable("refused", target="here")


class HandMovedTime:
    def __init__(self) -> None:
        self.seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def time() -> HandMovedTime:
    return HandMovedTime()


@pytest.fixture
def patience(time: HandMovedTime) -> Patience:
    return Patience(POLICY, monotonic=time, chance=lambda: 1.0)


def test_delays_double_up_to_the_longest(patience: Patience):
    assert [patience.delay_after(REFUSED) for _ in range(5)] == [1, 2, 4, 5, 5]


def test_half_of_a_delay_is_left_to_chance(time: HandMovedTime):
    assert Patience(POLICY, monotonic=time, chance=lambda: 0.0).delay_after(REFUSED) == 0.5


def test_each_replica_is_tried_once_before_any_waiting(time: HandMovedTime):
    patience = Patience(POLICY, replicas=3, monotonic=time, chance=lambda: 1.0)
    assert [patience.delay_after(REFUSED) for _ in range(4)] == [0, 0, 4, 5]
    patience.reset()
    assert patience.delay_after(REFUSED) == 0


def test_a_permanent_error_is_raised_at_once(patience: Patience):
    with pytest.raises(NotFoundError):
        patience.delay_after(NotFoundError("gone"))


def test_a_service_that_never_answered_is_given_up_soon(patience: Patience, time: HandMovedTime):
    patience.delay_after(REFUSED)
    time.seconds += 2
    with pytest.raises(Unavailable):
        patience.delay_after(REFUSED)


def test_a_service_that_answered_once_is_given_more_time(patience: Patience, time: HandMovedTime):
    patience.note_contact()
    patience.delay_after(REFUSED)
    time.seconds += 59
    patience.delay_after(REFUSED)
    time.seconds += 1
    with pytest.raises(Unavailable):
        patience.delay_after(REFUSED)


def test_progress_begins_the_count_anew(patience: Patience, time: HandMovedTime):
    patience.note_contact()
    patience.delay_after(REFUSED)
    time.seconds += 59
    patience.reset()
    time.seconds += 59
    assert patience.delay_after(REFUSED) == 1


def test_streams_that_break_again_and_again_are_given_up(patience: Patience):
    patience.note_contact()
    patience.delay_after(BrokenStreamError("cut"))
    patience.delay_after(BrokenStreamError("cut"))
    with pytest.raises(BrokenStreamError):
        patience.delay_after(BrokenStreamError("cut"))


def test_the_service_may_say_how_long_to_wait(patience: Patience):
    full = ResourceExhaustedError("full", ErrorFacts(retry_after=timedelta(seconds=7), reason="FULL"))
    assert patience.delay_after(full) == 7


def test_a_limit_without_a_time_is_permanent(patience: Patience):
    with pytest.raises(ResourceExhaustedError):
        patience.delay_after(ResourceExhaustedError("too large"))
