"""Calls about webhooks."""

from collections.abc import Iterator, Sequence
from datetime import timedelta

from lorax_batch.v1 import webhooks_pb2, webhooks_pb2_grpc

from lorax_batch_client.sync.connection import Connection
from lorax_batch_client.webhook import (
    Delivery,
    Webhook,
    WebhookWithSecret,
    create_webhook_request,
    rotate_secret_request,
    update_webhook_request,
    webhook_id_of,
)


class WebhookCalls(Connection):
    """Where state changes of jobs are told by HTTP."""

    @property
    def _webhooks(self) -> webhooks_pb2_grpc.WebhooksStub:
        return webhooks_pb2_grpc.WebhooksStub(self._channel)

    def create_webhook(self, url: str, *, event_types: Sequence[str] = (), description: str = "") -> WebhookWithSecret:
        """Have state changes told to a URL from now on; without `event_types`, all of them.

        The answer is the only one that has the secret.
        """
        request = create_webhook_request(url, event_types=event_types, description=description)
        created = self._call(lambda: self._webhooks.CreateWebhook, request)
        return WebhookWithSecret(webhook=Webhook.from_proto(created.webhook), secret=created.secret)

    def get_webhook(self, webhook: Webhook | str) -> Webhook:
        """Return the webhook as it is now."""
        request = webhooks_pb2.GetWebhookRequest(webhook_id=webhook_id_of(webhook))
        return Webhook.from_proto((self._call(lambda: self._webhooks.GetWebhook, request)).webhook)

    def list_webhooks(self, *, page_size: int = 0) -> Iterator[Webhook]:
        """Yield all webhooks, newest first."""
        request = webhooks_pb2.ListWebhooksRequest(page_size=page_size)
        while True:
            page = self._call(lambda: self._webhooks.ListWebhooks, request)
            for message in page.webhooks:
                yield Webhook.from_proto(message)
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    def update_webhook(
        self,
        webhook: Webhook | str,
        *,
        url: str | None = None,
        event_types: Sequence[str] | None = None,
        description: str | None = None,
        enabled: bool | None = None,
    ) -> Webhook:
        """Change what is given; one that is enabled again is tried at once, with all that it has missed."""
        request = update_webhook_request(
            webhook, url=url, event_types=event_types, description=description, enabled=enabled
        )
        return Webhook.from_proto((self._call(lambda: self._webhooks.UpdateWebhook, request)).webhook)

    def delete_webhook(self, webhook: Webhook | str) -> None:
        """Delete a webhook with its log."""
        request = webhooks_pb2.DeleteWebhookRequest(webhook_id=webhook_id_of(webhook))
        self._call(lambda: self._webhooks.DeleteWebhook, request)

    def rotate_webhook_secret(
        self, webhook: Webhook | str, *, keep_old_for: timedelta | None = None
    ) -> WebhookWithSecret:
        """Make a new secret; messages are signed with the old one too, for 24 hours unless told otherwise."""
        request = rotate_secret_request(webhook, keep_old_for=keep_old_for)
        rotated = self._call(lambda: self._webhooks.RotateWebhookSecret, request)
        return WebhookWithSecret(webhook=Webhook.from_proto(rotated.webhook), secret=rotated.secret)

    def test_webhook(self, webhook: Webhook | str) -> Delivery:
        """Send a message of the type `webhook.test` now, and return what came of it."""
        request = webhooks_pb2.TestWebhookRequest(webhook_id=webhook_id_of(webhook))
        return Delivery.from_proto((self._call(lambda: self._webhooks.TestWebhook, request)).delivery)

    def list_deliveries(self, webhook: Webhook | str, *, page_size: int = 0) -> Iterator[Delivery]:
        """Yield what waits and what was delivered or given up last, the newest event first."""
        request = webhooks_pb2.ListDeliveriesRequest(webhook_id=webhook_id_of(webhook), page_size=page_size)
        while True:
            page = self._call(lambda: self._webhooks.ListDeliveries, request)
            for message in page.deliveries:
                yield Delivery.from_proto(message)
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    def redeliver_message(self, webhook: Webhook | str, message: Delivery | str) -> Delivery:
        """Have a message sent again, soon."""
        message_id = message if isinstance(message, str) else message.message_id
        request = webhooks_pb2.RedeliverMessageRequest(webhook_id=webhook_id_of(webhook), message_id=message_id)
        return Delivery.from_proto((self._call(lambda: self._webhooks.RedeliverMessage, request)).delivery)
