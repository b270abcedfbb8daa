"""Delivers messages: takes webhooks that have something to send, one round at a time."""

import asyncio
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import timedelta
from random import Random
from typing import Final

import structlog

from lorax_batch_scheduler.clock import Clock
from lorax_batch_scheduler.errors import DatabaseError
from lorax_batch_scheduler.job import StateChange
from lorax_batch_scheduler.ports.webhook_store import DeliveryStore
from lorax_batch_scheduler.telemetry.webhook_tally import WebhookTally
from lorax_batch_scheduler.webhooks.back_off import BackOff
from lorax_batch_scheduler.webhooks.payload import change_body
from lorax_batch_scheduler.webhooks.round import MESSAGES, Lane, RoundLog, RoundResult, plan_round
from lorax_batch_scheduler.webhooks.sender import Sender
from lorax_batch_scheduler.webhooks.signature import signed_headers
from lorax_batch_scheduler.webhooks.webhook import Attempt, ClaimedWebhook, Message, MessageState

LEASE_S: Final = 10.0
"""How long the webhooks of a process that died are left alone."""
LEASE: Final = timedelta(seconds=LEASE_S)
RENEW_S: Final = 3.0
SENDING_S: Final = 20.0
"""No message is sent later in a round, so that what came of the others is stored."""
ROUNDS_AT_ONCE: Final = 16
LANES_AT_ONCE: Final = 4
"""Messages under way to one receiver, of as many jobs."""
POLL_S: Final = 2.0
"""Looks for what is due again; only while there is a webhook."""
MIN_INTERVAL_S: Final = 0.2
"""Between two looks at the store: a running job says several times a second that it has changed."""
RETRY_S: Final = 1.0
RELEASE_S: Final = 2.0
EVENT_GONE: Final = "its event is no longer kept"

_log = structlog.get_logger(__name__)


@dataclass(slots=True, kw_only=True)
class _Tenure:
    """How long a round may send, by this process's own clock."""

    good_until: float
    """The end of its lease; a process that was frozen finds it over."""
    send_until: float

    def over(self, now: float) -> bool:
        """Whether no other message may be sent."""
        return now >= min(self.good_until, self.send_until)


class Deliverer:
    """One process's part in delivering; any number of them share the webhooks of a database.

    While there is no webhook it reads nothing and writes nothing: it waits for word that one was made.
    """

    def __init__(
        self,
        store: DeliveryStore,
        sender: Sender,
        *,
        holder: str,
        currency: str,
        clock: Clock,
        chance: Random,
        back_off: BackOff,
        tally: WebhookTally | None = None,
        exclusive: bool = False,
        poll_s: float = POLL_S,
        min_interval_s: float = MIN_INTERVAL_S,
    ) -> None:
        """`exclusive`: no other process can deliver; what is held is held by one that is dead."""
        self._store = store
        self._sender = sender
        self._holder = holder
        self._currency = currency
        self._clock = clock
        self._chance = chance
        self._back_off = back_off
        self._tally = tally or WebhookTally()
        self._poll_s = poll_s
        self._min_interval_s = min_interval_s
        self._wake = asyncio.Event()
        self._look = True
        """Whether there may be a first webhook, or none any more."""
        self._busy = False
        """Whether there is any webhook."""
        self._rounds = 0
        self._take_over = exclusive

    async def run(self) -> None:
        """Deliver until cancelled; then what was taken is given back, and others go on at once."""
        with ExitStack() as stack:
            stack.callback(self._store.on_webhooks(self._heard_of_webhook))
            stack.callback(self._store.on_events(self._heard_of_event))
            try:
                async with asyncio.TaskGroup() as group:
                    while True:
                        await self._pass(group)
            finally:
                await self._release()

    async def _pass(self, group: asyncio.TaskGroup) -> None:
        self._wake.clear()
        try:
            if self._look:
                self._look = False
                self._busy = await self._store.any_webhook()
            if self._busy and self._take_over:
                await self._store.release_all()
                self._take_over = False
            if self._busy:
                await self._begin_rounds(group)
        except DatabaseError as error:
            self._look = True
            _log.warning("webhook_claim_failed", error=str(error), retry_s=RETRY_S)
            await asyncio.sleep(RETRY_S)
            return
        await self._wait()

    async def _begin_rounds(self, group: asyncio.TaskGroup) -> None:
        room = ROUNDS_AT_ONCE - self._rounds
        if room <= 0:
            return
        # Before the claim: its lease begins later, on database time.
        now = self._clock.monotonic()
        for webhook in await self._store.claim(self._holder, LEASE, limit=room):
            self._rounds += 1
            group.create_task(self._round(webhook, _Tenure(good_until=now + LEASE_S, send_until=now + SENDING_S)))

    async def _wait(self) -> None:
        await asyncio.sleep(self._min_interval_s)
        try:
            async with asyncio.timeout(self._poll_s if self._busy else None):
                await self._wake.wait()
        except TimeoutError:
            pass

    def _heard_of_webhook(self) -> None:
        self._look = True
        self._wake.set()

    def _heard_of_event(self) -> None:
        if self._busy:
            self._wake.set()

    async def _release(self) -> None:
        if not self._busy:
            return
        try:
            async with asyncio.timeout(RELEASE_S):
                await self._store.release(self._holder)
        except (TimeoutError, DatabaseError) as error:
            _log.warning("webhooks_not_released", error=repr(error))

    # --- one round ------------------------------------------------------------------------------------------------

    async def _round(self, webhook: ClaimedWebhook, tenure: _Tenure) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                keeping = group.create_task(self._keep(webhook, tenure))
                await self._carry_out(webhook, tenure)
                keeping.cancel()
        finally:
            self._rounds -= 1
            self._wake.set()  # there may be more of it, or room for another

    async def _keep(self, webhook: ClaimedWebhook, tenure: _Tenure) -> None:
        """Renew the lease of a round that takes long."""
        while True:
            await self._clock.sleep(RENEW_S)
            now = self._clock.monotonic()
            try:
                if not await self._store.renew(self._holder, webhook.webhook_id, LEASE):
                    return
            except DatabaseError as error:
                _log.warning("webhook_lease_not_renewed", webhook=webhook.webhook_id, error=str(error))
            else:
                tenure.good_until = now + LEASE_S

    async def _carry_out(self, webhook: ClaimedWebhook, tenure: _Tenure) -> None:
        try:
            waiting = await self._store.waiting(webhook)
            fresh = await self._store.fresh(webhook, limit=MESSAGES)
            plan = plan_round(webhook, waiting, fresh, self._clock.now())
            log = RoundLog(webhook=webhook, plan=plan, back_off=self._back_off, chance=self._chance)
            await self._send(webhook, plan.lanes, log, tenure)
            await self._save(webhook, log.result(self._clock.now()))
        except DatabaseError as error:
            # Its lease runs out; what was delivered meanwhile is delivered again.
            _log.warning("webhook_round_failed", webhook=webhook.webhook_id, error=str(error))

    async def _send(self, webhook: ClaimedWebhook, lanes: Sequence[Lane], log: RoundLog, tenure: _Tenure) -> None:
        if not lanes:
            return
        changes = await self._store.changes([message.sequence for lane in lanes for message in lane])
        left = list(reversed(lanes))

        async def work() -> None:
            while left:
                await self._send_lane(webhook, left.pop(), changes, log, tenure)

        async with asyncio.TaskGroup() as group:
            for _ in range(min(LANES_AT_ONCE, len(lanes))):
                group.create_task(work())

    async def _send_lane(
        self,
        webhook: ClaimedWebhook,
        lane: Lane,
        changes: dict[int, StateChange],
        log: RoundLog,
        tenure: _Tenure,
    ) -> None:
        for place, message in enumerate(lane):
            change = changes.get(message.sequence)
            if tenure.over(self._clock.monotonic()):
                log.left(lane[place:], self._clock.now())
                return
            if change is None:
                log.lost(message, self._clock.now(), EVENT_GONE)
                self._tally.gave_up()
                continue
            attempt = await self._try(webhook, message, change)
            tried = log.tried(message, attempt, self._clock.now())
            if tried.state is MessageState.GIVEN_UP:
                self._tally.gave_up()
            if tried.due is not None:
                log.left(lane[place + 1 :], tried.due)
                return

    async def _try(self, webhook: ClaimedWebhook, message: Message, change: StateChange) -> Attempt:
        body = change_body(change, self._currency)
        headers = signed_headers(webhook.secrets, message.message_id, self._clock.now(), body)
        attempt = await self._sender.send(webhook.url, headers, body)
        self._tally.tried(status=attempt.status, delivered=attempt.delivered, seconds=attempt.latency.total_seconds())
        if not attempt.delivered:
            _log.info(
                "webhook_not_delivered",
                webhook=webhook.webhook_id,
                message=message.message_id,
                attempt=message.attempts + 1,
                error=attempt.error,
            )
        return attempt

    async def _save(self, webhook: ClaimedWebhook, result: RoundResult) -> None:
        if not await self._store.save(self._holder, webhook, result):
            _log.warning("webhook_round_lost", webhook=webhook.webhook_id)
        elif result.disabled:
            self._look = True  # it may have been the last one
            _log.warning("webhook_disabled", webhook=webhook.webhook_id, reason=result.reason)
