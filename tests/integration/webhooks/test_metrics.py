"""What operators see of deliveries, and of webhooks that are behind."""

import asyncio
from datetime import timedelta

from lorax_batch_scheduler.postgres.delivery_store import PostgresDeliveryStore
from lorax_batch_scheduler.telemetry.webhook_tally import WebhookTally
from lorax_batch_scheduler.webhooks.back_off import BackOff
from lorax_batch_scheduler.webhooks.sampler import WebhookSampler
from lorax_batch_server.webhook_metrics import WebhookCollector
from prometheus_client import CollectorRegistry

from tests.integration.webhooks.conftest import SEALER, WAIT_S, Site
from tests.webhook_receiver import OK, Answer


def told(tally: WebhookTally, name: str, **labels: str) -> float | None:
    registry = CollectorRegistry()
    registry.register(WebhookCollector(tally))
    return registry.get_sample_value(f"lorax_batch_{name}", labels)


async def test_each_try_is_counted_by_what_came_of_it(site: Site) -> None:
    webhook, tally = await site.webhook(), WebhookTally()
    answers = iter([Answer(status=503), Answer(cut=True)])
    site.receiver.answer = lambda _: next(answers, OK)
    async with site.delivering(tally=tally):
        await site.job()
        await site.logged(webhook, lambda log: bool(log) and log[0].attempts == 3)
    outcomes = ("delivered", "refused", "unanswered")
    assert [told(tally, "webhook_tries_total", outcome=outcome) for outcome in outcomes] == [1, 1, 1]
    assert told(tally, "webhook_try_seconds_count") == 3
    assert told(tally, "webhook_messages_given_up_total") == 0


async def test_a_message_that_is_given_up_is_counted(site: Site) -> None:
    webhook, tally = await site.webhook(), WebhookTally()
    site.receiver.answer = lambda one: Answer(status=400) if one.job_id == "job_bad" else OK
    impatient = BackOff(first=timedelta(), longest=timedelta(), give_up_after=timedelta())
    async with site.delivering(tally=tally, back_off=impatient):
        async with asyncio.timeout(WAIT_S):
            await site.job("job_good")
            await site.arrived(1)
            await site.job("job_bad")
            await site.settled(webhook, lambda _: tally.given_up == 1)
    assert told(tally, "webhook_messages_given_up_total") == 1


async def test_the_states_of_webhooks_and_how_far_they_are_behind_are_sampled(site: Site) -> None:
    tally = WebhookTally()
    store = PostgresDeliveryStore(site.stores.database, site.stores.listener, SEALER)
    assert (await store.sample()).any_webhook is False
    for _ in range(3):
        late = await site.webhook()
    await site.client.update_webhook(late, enabled=False)
    await site.job()
    async with site.stores.database.connection() as connection:
        await connection.execute("UPDATE job_events SET time = time - interval '1 hour'")
        await connection.execute("UPDATE webhooks SET failures = 1, failing_since = now() WHERE webhook_id = 'wh_1'")
    sampling = asyncio.create_task(WebhookSampler(store, tally).run())
    async with asyncio.timeout(WAIT_S):
        while not tally.sample.any_webhook:  # noqa: ASYNC110 - a sample is a plain value
            await asyncio.sleep(0.005)
    sampling.cancel()
    await asyncio.wait([sampling])
    states = ("active", "failing", "disabled", "disabled_by_owner")
    assert [told(tally, "webhooks", state=state) for state in states] == [1, 1, 0, 1]
    assert 3_600 <= (told(tally, "webhook_oldest_seconds") or 0) < 3_600 + WAIT_S
