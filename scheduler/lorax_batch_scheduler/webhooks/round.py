"""One round of a webhook: what is sent now, and what is to be stored of it; pure."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from random import Random
from typing import Final

import msgspec

from lorax_batch_scheduler.webhooks.back_off import BackOff
from lorax_batch_scheduler.webhooks.webhook import Attempt, ClaimedWebhook, Message, MessageState

MESSAGES: Final = 32
"""Sent in one round: what a crash may send again."""
MAX_WAITING: Final = 1_000
"""With so many set aside, nothing new is taken on: the rest waits in the event log."""

Lane = tuple[Message, ...]
"""Messages of one job, sent one after the other, in their order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fresh:
    """Events behind the cursor that were not tried yet."""

    messages: Sequence[Message] = ()
    upto: int
    """The cursor once they are dealt with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundPlan:
    """What to send now."""

    lanes: tuple[Lane, ...]
    set_aside: tuple[Message, ...] = ()
    """Fresh ones whose job has an earlier message that waits."""
    cursor: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundResult:
    """What to store of a round, all at once."""

    cursor: int
    messages: tuple[Message, ...] = ()
    failures: int = 0
    failing_since: datetime | None = None
    not_before: datetime
    disabled: bool = False
    reason: str = ""
    hasten: bool = False
    """The receiver is back: what waits because of it is due."""


def plan_round(webhook: ClaimedWebhook, waiting: Sequence[Message], fresh: Fresh, now: datetime) -> RoundPlan:
    """Decide what to send: all that is due, and what is fresh.

    To a receiver that fails, only one message of each kind: of what waits, and of what was never tried, so that a
    message that is never taken does not hold up those of other jobs.
    """
    held = _by_job(waiting)
    due = sorted((lane for lane in held.values() if _due(lane) <= now.timestamp()), key=_due)
    probing = webhook.failures > 0
    lanes: dict[str, Lane] = {}
    room = 1 if probing else MESSAGES
    for lane in due:
        if room > 0:
            lanes[lane[0].job_id] = lane[:room]
            room -= len(lane)
    full = len(waiting) >= MAX_WAITING or (room <= 0 and not probing)
    if full:
        return RoundPlan(lanes=tuple(lanes.values()), cursor=webhook.cursor)
    set_aside = []
    for message in fresh.messages:
        earlier = held.get(message.job_id)
        if earlier is not None and (probing or len(lanes.get(message.job_id, ())) < len(earlier)):
            set_aside.append(msgspec.structs.replace(message, due=earlier[0].due))
            continue
        lanes[message.job_id] = (*lanes.get(message.job_id, ()), message)
        held.pop(message.job_id, None)
        if probing:
            return RoundPlan(lanes=tuple(lanes.values()), set_aside=tuple(set_aside), cursor=message.sequence)
    return RoundPlan(lanes=tuple(lanes.values()), set_aside=tuple(set_aside), cursor=fresh.upto)


@dataclass(slots=True, kw_only=True)
class RoundLog:
    """What came of a round so far; `result` sums it up."""

    webhook: ClaimedWebhook
    plan: RoundPlan
    back_off: BackOff
    chance: Random
    _messages: list[Message] = field(default_factory=list)
    _attempts: list[Attempt] = field(default_factory=list)
    _began: datetime | None = None
    """When the first try came to its end."""

    def tried(self, message: Message, attempt: Attempt, now: datetime) -> Message:
        """Note a try; return what has become of the message: with a `due`, those behind it wait too."""
        first_try = message.first_try or now
        tried = msgspec.structs.replace(
            message,
            attempts=message.attempts + 1,
            first_try=first_try,
            last_try=now,
            status=attempt.status,
            latency=attempt.latency,
            error=attempt.error,
        )
        self._attempts.append(attempt)
        self._began = self._began or now
        if attempt.delivered:
            ended = msgspec.structs.replace(tried, state=MessageState.DELIVERED, due=None)
        elif now - first_try >= self.back_off.give_up_after and self._took_others_since(first_try):
            ended = msgspec.structs.replace(tried, state=MessageState.GIVEN_UP, due=None)
        else:
            pause = self.back_off.pause(tried.attempts, self.chance, at_least=attempt.retry_after)
            ended = msgspec.structs.replace(tried, due=now + pause)
        self._messages.append(ended)
        return ended

    def _took_others_since(self, time: datetime) -> bool:
        return self.webhook.failing_since is None or self.webhook.failing_since > time

    def lost(self, message: Message, now: datetime, why: str) -> None:
        """Note a message that can't be told any more."""
        self._messages.append(
            msgspec.structs.replace(message, state=MessageState.GIVEN_UP, due=None, last_try=now, error=why)
        )

    def left(self, messages: Sequence[Message], due: datetime) -> None:
        """Note what of a lane was not tried."""
        self._messages.extend(msgspec.structs.replace(message, due=due) for message in messages)

    def result(self, now: datetime) -> RoundResult:
        """Return what to store."""
        result = RoundResult(
            cursor=self.plan.cursor, messages=(*self._messages, *self.plan.set_aside), not_before=now,
            failures=self.webhook.failures, failing_since=self.webhook.failing_since,
            reason=self.webhook.reason,
        )  # fmt: skip
        if not self._attempts:
            return result
        gone = next((attempt for attempt in self._attempts if attempt.gone), None)
        if gone is not None:
            return replace(result, disabled=True, reason=gone.error, failures=0, failing_since=None)
        if any(attempt.delivered for attempt in self._attempts):
            return replace(result, failures=0, failing_since=None, reason="", hasten=self.webhook.failures > 0)
        return self._failed(result, self._attempts[-1], now)

    def _failed(self, result: RoundResult, last: Attempt, now: datetime) -> RoundResult:
        failures, since = self.webhook.failures + 1, self.webhook.failing_since or self._began or now
        if now - since >= self.back_off.give_up_after:
            days = self.back_off.give_up_after.days
            reason = f"every try has failed for {days} days; the last one: {last.error}"
            return replace(result, disabled=True, reason=reason, failures=0, failing_since=None)
        pause = self.back_off.pause(failures, self.chance, at_least=last.retry_after)
        return replace(result, failures=failures, failing_since=since, not_before=now + pause, reason=last.error)


def _by_job(messages: Sequence[Message]) -> dict[str, Lane]:
    lanes: dict[str, Lane] = {}
    for message in messages:
        lanes[message.job_id] = (*lanes.get(message.job_id, ()), message)
    return lanes


def _due(lane: Lane) -> float:
    return lane[0].due.timestamp() if lane[0].due is not None else 0.0
