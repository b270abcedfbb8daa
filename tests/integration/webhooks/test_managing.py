"""Secrets, the log, and who delivers."""

import asyncio
from contextlib import AsyncExitStack
from datetime import timedelta

import pytest
from lorax_batch_client import ClientError, DeliveryState, WebhookState
from lorax_batch_client.errors import NotFoundError
from lorax_batch_scheduler.errors import NoSecretsKeyError
from lorax_batch_scheduler.job import JobEvent
from lorax_batch_scheduler.postgres.delivery_store import PostgresDeliveryStore
from lorax_batch_scheduler.postgres.secret_store import PostgresSecretStore
from lorax_batch_scheduler.postgres.webhook_store import PostgresWebhookStore
from lorax_batch_scheduler.sealing.key_ring import KeyRing, new_key
from lorax_batch_scheduler.sealing.key_source import FixedKeys
from lorax_batch_scheduler.sealing.sealer import Sealer
from lorax_batch_scheduler.webhooks.webhook import ClaimedWebhook, NewWebhook

from tests.integration.webhooks.conftest import KEY, SEALER, Site
from tests.webhook_receiver import OK, Answer


async def test_the_secret_is_told_once_and_two_are_good_while_it_is_rotated(site: Site) -> None:
    created = await site.client.create_webhook(site.receiver.url)
    assert created.secret.startswith("whsec_")
    assert created.secret not in repr(created)
    rotated = await site.client.rotate_webhook_secret(created.webhook)
    assert rotated.webhook.old_secret_until is not None
    await site.client.test_webhook(created.webhook)
    await site.client.rotate_webhook_secret(created.webhook, keep_old_for=timedelta())
    await site.client.test_webhook(created.webhook)
    both, none = site.receiver.received
    assert [both.verified_by(each.secret) for each in (created, rotated)] == [True, True]
    assert [none.verified_by(each.secret) for each in (created, rotated)] == [False, False]
    shown = [str(one) async for one in site.client.list_webhooks()]
    assert not any(each.secret in text for text in shown for each in (created, rotated))


@pytest.mark.parametrize("span", [timedelta(days=31), timedelta(seconds=-1)])
async def test_an_old_secret_is_kept_for_30_days_at_most(site: Site, span: timedelta) -> None:
    webhook = await site.webhook()
    with pytest.raises(ClientError, match="keep_old_for"):
        await site.client.rotate_webhook_secret(webhook, keep_old_for=span)


async def test_what_is_given_is_changed(site: Site) -> None:
    webhook = await site.webhook(event_types=["job.failed"])
    changed = await site.client.update_webhook(webhook, event_types=[], description="for the pager")
    assert (changed.event_types, changed.description, changed.url) == ((), "for the pager", webhook.url)
    disabled = await site.client.update_webhook(webhook, enabled=False)
    assert (disabled.state, disabled.reason) == (WebhookState.DISABLED, "disabled by its owner")
    assert [one.webhook_id async for one in site.client.list_webhooks(page_size=1)] == [webhook.webhook_id]
    await site.client.delete_webhook(webhook)
    assert [one async for one in site.client.list_webhooks()] == []


async def test_lists_are_paged_newest_first(site: Site) -> None:
    made = [(await site.webhook()).webhook_id for _ in range(3)]
    assert [one.webhook_id async for one in site.client.list_webhooks(page_size=2)] == made[::-1]


async def test_the_log_keeps_the_last_ones_and_any_can_be_sent_again(site: Site) -> None:
    webhook = await site.webhook()
    async with site.delivering():
        job_id = await site.job()
        await site.blink(job_id, 4)
        first, *_ = await site.arrived(9)
        log = await site.logged(webhook, lambda log: len(log) == 5)  # as many as this service keeps
        assert [one.sequence for one in log] == sorted((one.sequence for one in log), reverse=True)
        assert {one.state for one in log} == {DeliveryState.DELIVERED}
        again = await site.client.redeliver_message(webhook, first.message_id)
        assert again.state is DeliveryState.WAITING
        *_, repeated = await site.arrived(10)
    assert (repeated.message_id, repeated.body) == (first.message_id, first.body)
    for missing in ("msg_job_1_99", f"msg_other_{first.sequence}", "nonsense", "msg__", "msg_x_9" + "9" * 30):
        with pytest.raises(NotFoundError, match=missing):
            await site.client.redeliver_message(webhook, missing)
    await site.client.update_webhook(webhook, enabled=False)
    with pytest.raises(ClientError, match="is DISABLED, but must be ACTIVE"):
        await site.client.redeliver_message(webhook, first.message_id)


async def test_an_event_that_is_no_longer_kept_is_given_up(site: Site) -> None:
    webhook = await site.webhook()
    site.receiver.answer = lambda _: Answer(status=500)
    async with site.delivering():
        job_id = await site.job()
        await site.settled(webhook, lambda now: now.waiting == 1)
        async with site.stores.database.connection() as connection:
            event = await connection.fetchrow("DELETE FROM job_events RETURNING *")
        assert event is not None
        log = await site.logged(webhook, lambda log: log[0].state is DeliveryState.GIVEN_UP)
        assert log[0].error == "its event is no longer kept"
        site.receiver.answer = lambda _: OK
        await site.stores.jobs.move_job(job_id, JobEvent.PAUSE)
        await site.arrived(lambda received: received[-1].type == "job.paused")
    async with site.stores.database.connection() as connection:
        columns = ", ".join(event.keys())
        marks = ", ".join(f"${number}" for number in range(1, len(event) + 1))
        await connection.execute(f"INSERT INTO job_events ({columns}) VALUES ({marks})", *event.values())


async def test_several_processes_deliver_each_message_once_while_nobody_dies(site: Site) -> None:
    webhook = await site.webhook()
    async with AsyncExitStack() as stack:
        for number in range(3):
            await stack.enter_async_context(site.delivering(holder=f"api_{number}"))
        jobs = [await site.job(f"job_{number}") for number in range(3)]
        for job_id in jobs:
            await site.blink(job_id, 5)
        await site.arrived(33)
        await site.settled(webhook, lambda now: not now.waiting)
    ids = [one.message_id for one in site.receiver.received]
    assert len(ids) == len(set(ids)) == 33


async def test_whoever_has_lost_its_webhook_stores_nothing(site: Site) -> None:
    """A process that was frozen in a round finds another one in its place; that one's word counts."""
    webhook = await site.webhook()
    await site.job()
    frozen = FrozenStore(site.stores.database, site.stores.listener, SEALER)
    async with site.delivering(holder="frozen", store=frozen):
        await frozen.reached.wait()
        async with site.stores.database.connection() as connection:
            await connection.execute("UPDATE webhooks SET held_until = now()")
        async with site.delivering(holder="other"):
            await site.logged(webhook, lambda log: bool(log) and log[0].state is DeliveryState.DELIVERED)
            frozen.go.set()
            assert await frozen.saved.get() is False
    assert [one.attempts for one in await site.deliveries(webhook)] == [1]


async def test_a_process_that_ends_gives_back_what_it_has(site: Site) -> None:
    webhook = await site.webhook()
    site.receiver.answer = lambda _: Answer(hold=True)
    async with site.delivering(holder="ends"):
        await site.job()
        await site.arrived(1)
    assert await site.count("SELECT count(*) FROM webhooks WHERE holder IS NOT NULL") == 0
    site.receiver.answer = lambda _: OK
    async with site.delivering(holder="next"):
        await site.logged(webhook, lambda log: bool(log) and log[0].state is DeliveryState.DELIVERED)


async def test_without_a_webhook_nothing_is_read_or_written(site: Site) -> None:
    store = CountingStore(site.stores.database, site.stores.listener, SEALER)
    async with site.delivering(store=store):
        await store.looked.wait()
        job_id = await site.job()
        await site.blink(job_id, 3)
        assert store.claims == 0
        # It hears of the first one, and from then on of what happens.
        webhook = await site.webhook()
        await site.blink(job_id)
        await site.logged(webhook, lambda log: len(log) == 2)
        assert store.claims > 0


async def test_secrets_are_stored_sealed_and_sealed_anew_with_another_key(site: Site) -> None:
    created = await site.client.create_webhook(site.receiver.url)
    await site.client.rotate_webhook_secret(created.webhook)
    async with site.stores.database.connection() as connection:
        row = str(await connection.fetchrow("SELECT * FROM webhooks"))
    assert created.secret.removeprefix("whsec_") not in row
    newer = new_key()
    both = Sealer(FixedKeys(KeyRing(keys=(newer, KEY))))
    done = await PostgresSecretStore(site.stores.database, both).seal_anew()
    assert (done.sealed, done.unreadable) == (1, 0)
    assert await PostgresSecretStore(site.stores.database, both).counts() == {newer.key_id: 1}
    only_newer = PostgresWebhookStore(site.stores.database, Sealer(FixedKeys(KeyRing(keys=(newer,)))))
    assert created.secret in await only_newer.secrets_of(created.webhook.webhook_id, "default")
    # Who does not have the new key says so, and sends nothing.
    with pytest.raises(ClientError, match="does not have key"):
        await site.client.test_webhook(created.webhook)
    store = PostgresDeliveryStore(site.stores.database, site.stores.listener, SEALER)
    await site.job()
    assert await store.claim("api_1", timedelta(seconds=1), limit=1) == []


async def test_without_a_key_no_webhook_is_made(site: Site) -> None:
    keyless = PostgresWebhookStore(site.stores.database, Sealer(FixedKeys()))
    new = NewWebhook(
        webhook_id="wh_1", tenant="default", url="https://a.example", event_types=[], description="", secret="whsec_"
    )
    with pytest.raises(NoSecretsKeyError, match="must set secrets_key_file"):
        await keyless.create_webhook(new)


class FrozenStore(PostgresDeliveryStore):
    """Stands still before it stores a round."""

    def __init__(self, *args: object) -> None:
        super().__init__(*args)  # type: ignore[arg-type]
        self.reached, self.go = asyncio.Event(), asyncio.Event()
        self.saved: asyncio.Queue[bool] = asyncio.Queue()

    async def save(self, holder: str, webhook: ClaimedWebhook, result: object) -> bool:
        self.reached.set()
        await self.go.wait()
        saved = await super().save(holder, webhook, result)  # type: ignore[arg-type]
        await self.saved.put(saved)
        return saved


class CountingStore(PostgresDeliveryStore):
    """Counts how often it is asked for work."""

    def __init__(self, *args: object) -> None:
        super().__init__(*args)  # type: ignore[arg-type]
        self.looked = asyncio.Event()
        self.claims = 0

    async def any_webhook(self) -> bool:
        found = await super().any_webhook()
        self.looked.set()
        return found

    async def claim(self, holder: str, lease: timedelta, *, limit: int) -> list[ClaimedWebhook]:
        self.claims += 1
        return await super().claim(holder, lease, limit=limit)
