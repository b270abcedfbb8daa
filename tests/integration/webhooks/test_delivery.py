"""What a receiver gets, and when: over a real socket, verified by the specification's own library."""

from collections import defaultdict

from lorax_batch_client import DeliveryState
from lorax_batch_scheduler.dataset import NewDataset, OnInvalid
from lorax_batch_scheduler.job import JobEvent
from lorax_batch_scheduler.tenant import Quotas

from tests.integration.webhooks.conftest import Site
from tests.webhook_receiver import OK, Answer, Received

UNWELL = Answer(status=503)


async def test_every_state_change_is_told_signed_and_in_order(site: Site) -> None:
    webhook = await site.webhook()
    job_id = await site.job()
    async with site.delivering():
        await site.blink(job_id)
        received = await site.arrived(3)
    assert [one.type for one in received] == ["job.queued", "job.paused", "job.queued"]
    assert [one.sequence for one in received] == sorted(one.sequence for one in received)
    assert [one.message_id for one in received] == [f"msg_{job_id}_{one.sequence}" for one in received]
    assert received[0].headers["content-type"] == "application/json"
    assert (await site.client.get_webhook(webhook)).reason == ""


async def test_a_message_says_how_the_job_is(site: Site) -> None:
    await site.webhook()
    async with site.delivering():
        job_id = await site.job()
        (told,) = await site.arrived(1)
    data = told.payload["data"]
    assert told.payload.keys() == {"type", "timestamp", "data"}
    assert (data["id"], data["state"], data["previous_state"], data["base_model_id"]) == (
        job_id,
        "QUEUED",
        None,
        "mistral-7b",
    )
    assert (data["counts"]["total"], data["counts"]["pending"]) == (2, 2)
    assert data["usage"] == {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
    assert data["cost"] == {"currency": "USD", "micros": 0}
    assert data["links"]["job"] == {
        "method": "lorax_batch.v1.BatchInference/GetJob",
        "request": {"job_id": job_id},
    }


async def test_what_was_before_the_webhook_is_not_told(site: Site) -> None:
    job_id = await site.job()
    await site.webhook()
    async with site.delivering():
        await site.stores.jobs.move_job(job_id, JobEvent.PAUSE)
        (told,) = await site.arrived(1)
    assert told.type == "job.paused"


async def test_only_the_wanted_types_are_told(site: Site) -> None:
    webhook = await site.webhook(event_types=["job.paused"])
    async with site.delivering():
        await site.blink(await site.job(), 3)
        received = await site.arrived(3)
        await site.logged(webhook, lambda log: len(log) == 3)
    assert {one.type for one in received} == {"job.paused"}


async def test_a_message_that_failed_is_sent_again_under_its_id_and_with_the_same_body(site: Site) -> None:
    webhook = await site.webhook()
    answers = iter([UNWELL, Answer(cut=True)])
    site.receiver.answer = lambda _: next(answers, OK)
    async with site.delivering():
        await site.job()
        received = await site.arrived(3)
        (delivery,) = await site.logged(webhook, lambda log: bool(log) and log[0].state is DeliveryState.DELIVERED)
    assert len({(one.message_id, one.body) for one in received}) == 1
    assert (delivery.attempts, delivery.status, delivery.error) == (3, 204, "")
    assert delivery.latency.total_seconds() > 0


async def test_a_receiver_that_was_away_gets_all_in_the_order_of_each_job(site: Site) -> None:
    webhook = await site.webhook()
    site.receiver.answer = lambda _: UNWELL
    async with site.delivering():
        jobs = [await site.job(f"job_{number}") for number in range(4)]
        for job_id in jobs:
            await site.blink(job_id, 4)
        failing = await site.settled(webhook, lambda now: now.failing_since is not None)
        assert failing.reason == "the receiver answered with status 503"
        site.receiver.answer = lambda _: OK
        before = len(site.receiver.received)
        received = await site.arrived(lambda all_of_them: len(firsts(all_of_them[before:])) == 4 * 9)
        well = await site.settled(webhook, lambda now: not now.waiting)
    assert (well.failing_since, well.next_try_time, well.reason) == (None, None, "")
    by_job = defaultdict(list)
    for one in firsts(received[before:]):
        by_job[one.job_id].append(one.sequence)
    assert set(by_job) == set(jobs)
    assert all(sequences == sorted(sequences) and len(sequences) == 9 for sequences in by_job.values())


async def test_a_message_that_is_never_taken_holds_up_only_its_job(site: Site) -> None:
    webhook = await site.webhook()
    site.receiver.answer = lambda one: UNWELL if one.job_id == "job_bad" else OK
    async with site.delivering():
        await site.job("job_bad")
        await site.arrived(1)
        await site.blink("job_bad")
        good = await site.job("job_good")
        await site.blink(good, 5)
        await site.arrived(lambda all_of_them: sum(one.job_id == good for one in all_of_them) >= 11)
        bad = [one for one in site.receiver.received if one.job_id == "job_bad"]
        assert len({one.message_id for one in bad}) == 1
        site.receiver.answer = lambda _: OK
        await site.settled(webhook, lambda now: not now.waiting)
    bad = [one for one in firsts(site.receiver.received) if one.job_id == "job_bad"]
    assert [one.type for one in bad] == ["job.queued", "job.paused", "job.queued"]


async def test_a_deleted_job_is_told(site: Site) -> None:
    await site.webhook(event_types=["job.deleted", "job.cancelled"])
    # Its dataset was never checked: there are no rows to settle.
    await site.stores.datasets.create_dataset(
        NewDataset(dataset_id="ds_1", name="rows", on_invalid=OnInvalid.SKIP, source_path="/somewhere")
    )
    job_id = (await site.stores.queued_job()).job_id
    await site.stores.jobs.move_job(job_id, JobEvent.CANCEL)
    await site.stores.jobs.move_job(job_id, JobEvent.FINISH)
    await site.stores.jobs.delete_job(job_id)
    async with site.delivering():
        received = await site.arrived(2)
    assert [(one.type, one.payload["data"]["state"]) for one in received] == [
        ("job.cancelled", "CANCELLED"),
        ("job.deleted", "DELETED"),
    ]


async def test_a_tenant_is_told_only_of_its_own_jobs(site: Site) -> None:
    await site.webhook()
    await site.stores.access.create_tenant("acme", Quotas(), 1.0)
    await site.stores.ready_dataset(2, dataset_id="ds_acme", tenant="acme")
    await site.stores.queued_job("job_acme", "ds_acme", tenant="acme")
    async with site.delivering():
        mine = await site.job()
        (told,) = await site.arrived(1)
    assert told.job_id == mine


def firsts(received: list[Received]) -> list[Received]:
    """Return what was received without what came again."""
    return list({one.message_id: one for one in reversed(received)}.values())[::-1]
