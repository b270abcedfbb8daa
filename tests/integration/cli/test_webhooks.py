from datetime import timedelta

import grpc
from google.protobuf.duration_pb2 import Duration
from lorax_batch.v1 import webhooks_pb2 as pb

from tests.integration.cli.conftest import Command
from tests.integration.client.scripted_service import Abort, Service, reason

WEBHOOK = pb.Webhook(webhook_id="wh_1", url="https://example.com/hooks", state=pb.WEBHOOK_STATE_ACTIVE)
FAILED = pb.Delivery(
    message_id="msg_test_1",
    event_type="webhook.test",
    state=pb.DELIVERY_STATE_GIVEN_UP,
    attempts=1,
    status=500,
    latency=Duration(nanos=12_000_000),
    error="the receiver answered with status 500",
)
TAKEN = pb.Delivery(
    message_id="msg_job_1_7",
    event_type="job.succeeded",
    job_id="job_1",
    sequence=7,
    state=pb.DELIVERY_STATE_DELIVERED,
    attempts=2,
    status=204,
)
SECRET = "whsec_only_now"


async def test_the_secret_is_printed_once_with_a_word_about_it(command: Command, service: Service):
    service.script.expect("CreateWebhook", pb.CreateWebhookResponse(webhook=WEBHOOK, secret=SECRET))
    ended = await command("webhooks", "create", WEBHOOK.url, "--event", "job.failed", "--event", "job.succeeded")
    assert f"secret  {SECRET}" in ended.stdout
    assert "shown only now" in ended.stderr
    (asked,) = service.script.requests
    assert list(asked.webhook.event_types) == ["job.failed", "job.succeeded"]


async def test_programs_get_the_secret_as_json(command: Command, service: Service):
    service.script.expect("RotateWebhookSecret", pb.RotateWebhookSecretResponse(webhook=WEBHOOK, secret=SECRET))
    (told,) = (await command("webhooks", "rotate", "wh_1", "--keep-old-hours", "1.5", "--json")).objects
    assert (told["secret"], told["state"]) == (SECRET, "active")
    assert service.script.requests[0].keep_old_for.ToTimedelta() == timedelta(hours=1.5)


async def test_webhooks_are_listed_with_how_they_do(command: Command, service: Service):
    disabled = pb.Webhook(
        webhook_id="wh_2",
        url="https://b.example",
        state=pb.WEBHOOK_STATE_DISABLED,
        waiting=3,
        reason="gone",
        event_types=["job.failed"],
    )
    service.script.expect("ListWebhooks", pb.ListWebhooksResponse(webhooks=[disabled], next_page_token="2"))
    service.script.expect("ListWebhooks", pb.ListWebhooksResponse(webhooks=[WEBHOOK]))
    heading, first, second = (await command("webhooks", "list")).stdout.splitlines()
    assert heading.split() == ["WEBHOOK", "URL", "EVENTS", "STATE", "WAITING", "REASON"]
    assert first.split() == ["wh_2", "https://b.example", "job.failed", "disabled", "3", "gone"]
    assert second.split() == ["wh_1", "https://example.com/hooks", "all", "active", "0"]


async def test_only_what_is_given_is_changed(command: Command, service: Service):
    service.script.expect("UpdateWebhook", pb.UpdateWebhookResponse(webhook=WEBHOOK))
    assert (await command("webhooks", "update", "wh_1", "--enable", "--all-events")).exit_code == 0
    (asked,) = service.script.requests
    assert list(asked.update_mask.paths) == ["event_types", "state"]
    assert (asked.webhook.state, list(asked.webhook.event_types)) == (pb.WEBHOOK_STATE_ACTIVE, [])


async def test_an_update_of_nothing_is_refused(command: Command):
    ended = await command("webhooks", "update", "wh_1")
    assert (ended.exit_code, "nothing to change: give --url" in ended.stderr) == (2, True)
    both = await command("webhooks", "update", "wh_1", "--event", "job.failed", "--all-events")
    assert (both.exit_code, "exclude each other" in both.stderr) == (2, True)


async def test_a_test_that_was_not_taken_ends_with_1(command: Command, service: Service):
    service.script.expect("TestWebhook", pb.TestWebhookResponse(delivery=FAILED))
    ended = await command("webhooks", "test", "wh_1")
    assert ended.exit_code == 1
    assert ended.stdout.strip() == "msg_test_1: the receiver answered with status 500 (12 ms)"


async def test_deliveries_are_listed_as_many_as_wanted(command: Command, service: Service):
    service.script.expect("ListDeliveries", pb.ListDeliveriesResponse(deliveries=[TAKEN, TAKEN, FAILED]))
    _, *rows = (await command("webhooks", "deliveries", "wh_1", "--limit", "2")).stdout.splitlines()
    assert [row.split()[:5] for row in rows] == [["msg_job_1_7", "job.succeeded", "delivered", "2", "204"]] * 2


async def test_a_message_is_sent_again(command: Command, service: Service):
    service.script.expect("RedeliverMessage", pb.RedeliverMessageResponse(delivery=TAKEN))
    assert "msg_job_1_7 is sent again" in (await command("webhooks", "redeliver", "wh_1", "msg_job_1_7")).stdout


async def test_a_webhook_is_shown_and_deleted(command: Command, service: Service):
    service.script.expect("GetWebhook", pb.GetWebhookResponse(webhook=WEBHOOK))
    assert "https://example.com/hooks" in (await command("webhooks", "show", "wh_1")).stdout
    service.script.expect("DeleteWebhook", pb.DeleteWebhookResponse())
    assert (await command("webhooks", "delete", "wh_1")).stdout == "wh_1 is deleted\n"


async def test_a_refused_url_is_told_in_words(command: Command, service: Service):
    text = "webhook.url: 127.0.0.1 is not a public address"
    service.script.expect(
        "CreateWebhook",
        Abort(code=grpc.StatusCode.INVALID_ARGUMENT, text=text, details=(reason("INVALID_INPUT"),)),
    )
    ended = await command("webhooks", "create", "https://127.0.0.1/")
    assert (ended.exit_code, text in ended.stderr) == (2, True)
