"""What answers of receivers mean, and which places are never called."""

import asyncio
import socket
from collections.abc import AsyncIterator
from datetime import timedelta
from ipaddress import ip_network

import pytest
import pytest_asyncio
from lorax_batch_client import ClientError, DeliveryState, WebhookState
from lorax_batch_client.errors import NotFoundError
from lorax_batch_scheduler.clock import SystemClock
from lorax_batch_scheduler.webhooks.address_rules import AddressRules
from lorax_batch_scheduler.webhooks.back_off import BackOff
from lorax_batch_scheduler.webhooks.sender import Sender

from tests.integration.postgres.conftest import Stores
from tests.integration.webhooks.conftest import LOCAL, QUICK, TIMEOUT_S, Site, serving
from tests.webhook_receiver import OK, Answer, Receiver

HEADERS = {"webhook-id": "msg_1"}


@pytest_asyncio.fixture
async def strict_site(stores: Stores, receiver: Receiver) -> AsyncIterator[Site]:
    """Yield a service that may only call public addresses; by http too, so that the address alone decides."""
    async with serving(stores, receiver, AddressRules(allow_http=True)) as site:
        yield site


@pytest_asyncio.fixture
async def sender() -> AsyncIterator[Sender]:
    async with Sender(LOCAL, SystemClock(), timeout_s=TIMEOUT_S) as sender:
        yield sender


async def test_gone_disables_at_once(site: Site) -> None:
    webhook = await site.webhook()
    site.receiver.answer = lambda _: Answer(status=410)
    async with site.delivering():
        await site.job()
        disabled = await site.settled(webhook, lambda now: now.state is WebhookState.DISABLED)
    assert disabled.reason == "the receiver wants no more messages (410)"
    assert disabled.waiting == 1
    assert len(site.receiver.received) == 1


async def test_failing_for_days_disables_and_enabling_tells_what_was_missed(site: Site) -> None:
    webhook = await site.webhook()
    site.receiver.answer = lambda _: Answer(status=500)
    impatient = BackOff(first=QUICK.first, longest=QUICK.longest, give_up_after=timedelta(milliseconds=100))
    async with site.delivering(back_off=impatient):
        job_id = await site.job()
        disabled = await site.settled(webhook, lambda now: now.state is WebhookState.DISABLED)
        assert disabled.reason.startswith("every try has failed for 0 days; the last one: the receiver answered")
        await site.blink(job_id, 2)
        site.receiver.answer = lambda _: OK
        before = len(site.receiver.received)
        enabled = await site.client.update_webhook(webhook, enabled=True)
        assert (enabled.state, enabled.reason) == (WebhookState.ACTIVE, "")
        received = await site.arrived(before + 5)
    sequences = [one.sequence for one in received[before:]]
    assert sequences == sorted(sequences)


async def test_redirects_are_not_followed(site: Site) -> None:
    webhook = await site.webhook()
    site.receiver.answer = lambda _: Answer(status=307, headers={"Location": "http://169.254.169.254/latest/meta-data"})
    delivery = await site.client.test_webhook(webhook)
    assert delivery.status == 307
    assert delivery.error == (
        "the receiver redirects to http://169.254.169.254/latest/meta-data (307), which is not followed: "
        "give the webhook that URL"
    )
    assert len(site.receiver.received) == 1


async def test_a_test_tells_what_came_of_it(site: Site) -> None:
    webhook = await site.webhook()
    delivery = await site.client.test_webhook(webhook)
    assert (delivery.state, delivery.status, delivery.error) == (DeliveryState.DELIVERED, 204, "")
    (told,) = site.receiver.received
    assert (told.type, told.payload["data"]) == ("webhook.test", {"webhook_id": webhook.webhook_id})
    assert await site.deliveries(webhook) == []


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (Answer(cut=True), "the receiver closed the connection without an answer"),
        (Answer(hold=True), "no answer within 0.5 s"),
        (Answer(status=500), "the receiver answered with status 500"),
        (Answer(status=200, headers={"X-Long": "x" * 20_000}), "its answer can't be read: Got more than 8190 bytes"),
    ],
    ids=["cut", "silent", "status", "headers"],
)
async def test_what_a_receiver_does_wrong_is_said(
    sender: Sender, receiver: Receiver, answer: Answer, error: str
) -> None:
    receiver.answer = lambda _: answer
    attempt = await sender.send(receiver.url, HEADERS, b"{}")
    assert not attempt.delivered
    assert error in attempt.error
    receiver.let_go()


async def test_a_body_of_any_size_is_not_read(sender: Sender, receiver: Receiver) -> None:
    receiver.answer = lambda _: Answer(status=200, body=b"x" * (8 << 20))
    assert (await sender.send(receiver.url, HEADERS, b"{}")).delivered


async def test_a_busy_receiver_is_left_alone_as_long_as_it_asks(sender: Sender, receiver: Receiver) -> None:
    receiver.answer = lambda _: Answer(status=429, headers={"Retry-After": "7"})
    assert (await sender.send(receiver.url, HEADERS, b"{}")).retry_after == timedelta(seconds=7)


async def test_nobody_listens(sender: Sender) -> None:
    with Receiver() as gone:
        url = gone.url
    attempt = await sender.send(url, HEADERS, b"{}")
    assert (attempt.status, attempt.error.partition(":")[0]) == (0, "no connection")


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "2130706433", "0x7f.1", "127.1", "0"]
)
async def test_private_addresses_are_never_connected_to_in_whatever_way_they_are_written(
    receiver: Receiver, host: str
) -> None:
    port = receiver.url.partition("127.0.0.1:")[2].partition("/")[0]
    async with Sender(AddressRules(allow_http=True), SystemClock(), timeout_s=TIMEOUT_S) as sender:
        attempt = await sender.send(f"http://{host}:{port}/", HEADERS, b"{}")
    assert attempt.status == 0
    assert not attempt.delivered
    assert receiver.received == []


async def test_a_name_that_leads_elsewhere_once_it_was_checked(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DNS rebinding: public when its webhook is made, loopback when a message is sent."""
    port = int(receiver.url.partition("127.0.0.1:")[2].partition("/")[0])
    answers = iter(["93.184.216.34", "127.0.0.1"])

    async def look_up(*_: object, **__: object) -> list[tuple[object, ...]]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (next(answers), port))]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", look_up)
    url = f"http://rebound.example:{port}/"
    async with Sender(AddressRules(allow_http=True), SystemClock(), timeout_s=TIMEOUT_S) as sender:
        await sender.check(url)
        attempt = await sender.send(url, HEADERS, b"{}")
    assert "rebound.example leads to what is not a public address" in attempt.error
    assert receiver.received == []


async def test_the_last_door_is_the_socket(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even when every check before it is blind, no connection is made."""
    monkeypatch.setattr(AddressRules, "check_url", lambda *_: None)
    monkeypatch.setattr("lorax_batch_scheduler.webhooks.guarded_resolver.GuardedResolver.resolve", None)
    async with Sender(AddressRules(allow_http=True), SystemClock(), timeout_s=TIMEOUT_S) as sender:
        attempt = await sender.send(receiver.url, HEADERS, b"{}")
    assert "127.0.0.1 is not a public address" in attempt.error
    assert receiver.received == []


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("", "is required"),
        ("example.com/hooks", "has no scheme"),
        ("ftp://example.com/", "is of the scheme 'ftp': only https or http can be called"),
        ("https:///hooks", "names no host"),
        ("https://user:pw@example.com/", "holds a user or password"),
        ("https://example.com/#part", "never sent"),
        ("https://example.com:0/", "port 0"),
        ("https://example.com:99999/", "is no URL"),
        ("https://example.com/a b", "white space"),
        ("https://127.0.0.1/hooks", "127.0.0.1 is not a public address"),
        ("https://[::1]/hooks", "::1 is not a public address"),
        ("https://[::ffff:10.0.0.1]/", "is not a public address"),
        ("https://169.254.169.254/latest", "169.254.169.254 is not a public address"),
        ("https://2130706433/", "is no address as it should be written"),
        ("https://localhost/hooks", "localhost leads to what is not a public address"),
        ("https://no-such-host.invalid/", "can't be looked up"),
        ("https://" + "x" * 3_000, "at most 2048"),
    ],
)
async def test_bad_urls_are_refused(strict_site: Site, url: str, said: str) -> None:
    with pytest.raises(ClientError) as refused:
        await strict_site.client.create_webhook(url)
    assert "webhook.url" in str(refused.value)
    assert said in str(refused.value)


async def test_http_is_refused_unless_it_is_allowed(stores: Stores, receiver: Receiver) -> None:
    async with serving(stores, receiver, AddressRules(networks=(ip_network("127.0.0.0/8"),))) as site:
        with pytest.raises(ClientError, match="use https"):
            await site.client.create_webhook(receiver.url)


async def test_too_many_webhooks_are_refused(site: Site) -> None:
    for _ in range(3):
        await site.webhook()
    with pytest.raises(ClientError, match="there are 3 webhooks, and no more are allowed"):
        await site.webhook()


async def test_unknown_event_types_are_refused_with_what_may_have_been_meant(site: Site) -> None:
    with pytest.raises(ClientError) as refused:
        await site.webhook(event_types=["job.succeeded", "job.suceeded", "x"])
    assert "webhook.event_types[1]: 'job.suceeded' is no type of event: was job.succeeded meant?" in str(refused.value)
    assert "there are job.validating" in str(refused.value)


async def test_what_is_not_there_is_not_found(site: Site) -> None:
    for call in (
        site.client.get_webhook("wh_none"),
        site.client.update_webhook("wh_none", enabled=False),
        site.client.update_webhook("wh_none", url=site.receiver.url),
        site.client.delete_webhook("wh_none"),
        site.client.rotate_webhook_secret("wh_none"),
        site.client.test_webhook("wh_none"),
        site.client.redeliver_message("wh_none", "msg_job_1_1"),
    ):
        with pytest.raises(NotFoundError, match="no webhook 'wh_none'"):
            await call
