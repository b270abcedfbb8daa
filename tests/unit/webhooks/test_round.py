"""Which messages a round sends, and what is stored of it."""

from datetime import UTC, datetime, timedelta
from random import Random

import pytest
from lorax_batch_scheduler.webhooks.back_off import BackOff
from lorax_batch_scheduler.webhooks.round import MAX_WAITING, MESSAGES, Fresh, RoundLog, RoundPlan, plan_round
from lorax_batch_scheduler.webhooks.webhook import Attempt, ClaimedWebhook, Message, MessageState, parse_message_id

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SOON = NOW + timedelta(minutes=1)
BACK_OFF = BackOff()
TAKEN = Attempt(status=204, latency=timedelta(), error="")
REFUSED = Attempt(status=503, latency=timedelta(), error="the receiver answered with status 503")
GONE = Attempt(status=410, latency=timedelta(), error="gone")


def webhook(*, failures: int = 0, failing_since: datetime | None = None) -> ClaimedWebhook:
    return ClaimedWebhook(
        webhook_id="wh_1",
        tenant="default",
        url="https://example.com",
        event_types=[],
        secrets=["whsec_YQ=="],
        cursor=100,
        reason="was bad" if failures else "",
        failures=failures,
        failing_since=failing_since or (NOW if failures else None),
    )


def message(sequence: int, job_id: str, due: datetime | None = None, attempts: int = 0) -> Message:
    return Message(sequence=sequence, job_id=job_id, event_type="job.running", due=due, attempts=attempts)


def sent(plan: RoundPlan) -> list[list[int]]:
    return [[one.sequence for one in lane] for lane in plan.lanes]


def test_fresh_messages_stand_in_one_lane_a_job() -> None:
    fresh = Fresh(messages=[message(101, "a"), message(102, "b"), message(104, "a")], upto=110)
    plan = plan_round(webhook(), [], fresh, NOW)
    assert (sent(plan), plan.set_aside, plan.cursor) == ([[101, 104], [102]], (), 110)


def test_what_comes_behind_one_that_is_not_due_is_set_aside_until_then() -> None:
    fresh = Fresh(messages=[message(101, "a"), message(102, "b")], upto=102)
    plan = plan_round(webhook(), [message(7, "a", SOON)], fresh, NOW)
    assert sent(plan) == [[102]]
    assert [(one.sequence, one.due) for one in plan.set_aside] == [(101, SOON)]
    assert plan.cursor == 102


def test_what_comes_behind_one_that_is_due_follows_it() -> None:
    waiting = [message(7, "a", NOW), message(9, "a", SOON)]
    plan = plan_round(webhook(), waiting, Fresh(messages=[message(101, "a")], upto=101), NOW)
    assert sent(plan) == [[7, 9, 101]]


def test_a_round_is_bounded_and_leaves_the_rest_where_it_is() -> None:
    waiting = [message(number, f"job_{number % 3}", NOW) for number in range(MESSAGES + 10)]
    plan = plan_round(webhook(), waiting, Fresh(messages=[message(101, "new")], upto=101), NOW)
    assert sum(map(len, plan.lanes)) == MESSAGES
    assert plan.cursor == 100


def test_with_too_many_set_aside_nothing_new_is_taken_on() -> None:
    waiting = [message(number, f"job_{number}", SOON) for number in range(MAX_WAITING)]
    plan = plan_round(webhook(), waiting, Fresh(messages=[message(101, "new")], upto=101), NOW)
    assert (sent(plan), plan.cursor) == ([], 100)


def test_a_receiver_that_fails_gets_one_message_that_waits_and_one_that_is_new() -> None:
    waiting = [message(7, "a", NOW), message(8, "b", NOW - timedelta(1)), message(9, "b", NOW)]
    fresh = Fresh(messages=[message(101, "a"), message(102, "c"), message(103, "d")], upto=110)
    plan = plan_round(webhook(failures=2), waiting, fresh, NOW)
    assert sent(plan) == [[8], [102]]
    assert [one.sequence for one in plan.set_aside] == [101]
    assert plan.cursor == 102


def log_of(claimed: ClaimedWebhook) -> RoundLog:
    return RoundLog(webhook=claimed, plan=RoundPlan(lanes=(), cursor=105), back_off=BACK_OFF, chance=Random(1))


def test_a_failed_message_waits_longer_each_time_and_so_does_the_webhook() -> None:
    log = log_of(webhook(failures=2))
    tried = log.tried(message(7, "a", attempts=3), REFUSED, NOW)
    result = log.result(NOW)
    assert tried.due is not None
    assert timedelta(seconds=135 * 0.8) <= tried.due - NOW <= timedelta(seconds=135)
    assert timedelta(seconds=45 * 0.8) <= result.not_before - NOW <= timedelta(seconds=45)
    assert (result.failures, result.failing_since, result.reason) == (3, NOW, REFUSED.error)
    assert (tried.attempts, tried.status, tried.first_try) == (4, 503, NOW)


def test_one_delivery_says_that_the_receiver_is_back() -> None:
    log = log_of(webhook(failures=2))
    log.tried(message(7, "a"), REFUSED, NOW)
    assert log.tried(message(8, "b"), TAKEN, NOW).state is MessageState.DELIVERED
    result = log.result(NOW)
    assert (result.failures, result.failing_since, result.reason, result.hasten) == (0, None, "", True)


def test_a_round_in_which_nothing_was_tried_changes_nothing() -> None:
    result = log_of(webhook(failures=2)).result(NOW)
    assert (result.failures, result.failing_since, result.reason, result.cursor) == (2, NOW, "was bad", 105)


def test_failing_for_days_disables_and_keeps_what_waits() -> None:
    log = log_of(webhook(failures=9, failing_since=NOW - timedelta(days=5)))
    tried = log.tried(message(7, "a"), REFUSED, NOW)
    result = log.result(NOW)
    assert (result.disabled, tried.state) == (True, MessageState.WAITING)
    assert result.reason == f"every try has failed for 5 days; the last one: {REFUSED.error}"


def test_gone_disables_at_once_whatever_else_was_taken() -> None:
    log = log_of(webhook())
    log.tried(message(7, "a"), TAKEN, NOW)
    log.tried(message(8, "b"), GONE, NOW)
    assert (log.result(NOW).disabled, log.result(NOW).reason) == (True, "gone")


@pytest.mark.parametrize(
    ("failing_since", "state"),
    [
        (None, MessageState.GIVEN_UP),
        (NOW - timedelta(days=1), MessageState.GIVEN_UP),
        (NOW - timedelta(days=6), MessageState.WAITING),
    ],
    ids=["others are taken", "others were taken in between", "nothing was taken since"],
)
def test_one_message_is_given_up_only_when_others_were_taken(
    failing_since: datetime | None, state: MessageState
) -> None:
    old = Message(sequence=7, job_id="a", event_type="job.running", first_try=NOW - timedelta(days=5, seconds=1))
    log = log_of(webhook(failures=1 if failing_since else 0, failing_since=failing_since))
    assert log.tried(old, REFUSED, NOW).state is state


def test_a_pause_grows_to_its_limit_and_follows_the_receiver_that_far() -> None:
    chance = Random(1)
    assert BACK_OFF.pause(10_000, chance) <= BACK_OFF.longest
    assert BACK_OFF.pause(1, chance, at_least=timedelta(minutes=7)) == timedelta(minutes=7)
    assert BACK_OFF.pause(1, chance, at_least=timedelta(days=7)) == BACK_OFF.longest


def test_a_message_id_tells_its_event() -> None:
    assert parse_message_id(message(17, "job_00ff").message_id) == ("job_00ff", 17)
    for text in ("", "msg_", "msg_7", "msg__7", "job_1_7", "msg_job_1_0", "msg_job_1_-7", "msg_job_1_\u0663"):
        assert parse_message_id(text) is None
