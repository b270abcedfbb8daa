"""How often a tenant may call."""

import pytest
from lorax_batch_server.errors import RateLimitedError
from lorax_batch_server.request_rates import RequestRates


class Time:
    """Monotonic seconds that a test moves."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_seconds_worth_comes_at_once_and_then_one_for_each_token():
    time = Time()
    rates = RequestRates(time)
    for _ in range(10):
        rates.take("acme", 10.0)
    with pytest.raises(RateLimitedError) as told:
        rates.take("acme", 10.0)
    assert told.value.retry_after_s == pytest.approx(0.1)
    time.now += told.value.retry_after_s + 1e-9
    rates.take("acme", 10.0)
    with pytest.raises(RateLimitedError):
        rates.take("acme", 10.0)
    time.now += 1_000
    for _ in range(10):
        rates.take("acme", 10.0)
    with pytest.raises(RateLimitedError):
        rates.take("acme", 10.0)


def test_less_than_one_a_second_still_lets_one_in():
    time = Time()
    rates = RequestRates(time)
    rates.take("acme", 0.01)
    with pytest.raises(RateLimitedError) as told:
        rates.take("acme", 0.01)
    assert told.value.retry_after_s == pytest.approx(100)


def test_tenants_do_not_share_and_no_limit_is_none():
    rates = RequestRates(Time())
    rates.take("acme", 1.0)
    rates.take("globex", 1.0)
    for _ in range(10_000):
        rates.take("initech", None)


def test_a_limit_that_was_lowered_holds_at_once():
    rates = RequestRates(Time())
    rates.take("acme", 1_000.0)
    rates.take("acme", 1.0)
    with pytest.raises(RateLimitedError):
        rates.take("acme", 1.0)
