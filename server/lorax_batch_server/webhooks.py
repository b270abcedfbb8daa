"""The Webhooks service: where state changes of jobs are told by HTTP."""

import secrets
from collections.abc import Callable
from typing import Any, Final

import grpc
import structlog
from lorax_batch.v1 import webhooks_pb2 as pb
from lorax_batch.v1 import webhooks_pb2_grpc
from lorax_batch_scheduler.clock import Clock
from lorax_batch_scheduler.ports.webhook_store import WebhookStore
from lorax_batch_scheduler.tenant import Role
from lorax_batch_scheduler.webhooks.payload import TEST_TYPE, trial_body
from lorax_batch_scheduler.webhooks.sender import Sender
from lorax_batch_scheduler.webhooks.signature import new_secret, signed_headers
from lorax_batch_scheduler.webhooks.webhook import NewWebhook

from lorax_batch_server.caller import current_caller
from lorax_batch_server.checks import Checks, known_id
from lorax_batch_server.translate_webhook import delivery_message, tried_message, webhook_message, without_paths
from lorax_batch_server.webhook_requests import check_keep_old_for, check_new_webhook, check_webhook_update

DEFAULT_PAGE_SIZE: Final = 50
_Context = grpc.aio.ServicerContext[Any, Any]
_log = structlog.get_logger(__name__)


class WebhooksService(webhooks_pb2_grpc.WebhooksServicer):
    """See the contract. Errors are raised as they are; the interceptor gives them their status."""

    def __init__(
        self,
        store: WebhookStore,
        sender: Sender,
        clock: Clock,
        *,
        new_id: Callable[[], str],
    ) -> None:
        self._store = store
        self._sender = sender
        self._clock = clock
        self._new_id = new_id

    async def CreateWebhook(self, request: pb.CreateWebhookRequest, context: _Context) -> pb.CreateWebhookResponse:
        wanted = check_new_webhook(request.webhook)
        await self._sender.check(wanted.url)
        secret = new_secret()
        webhook = await self._store.create_webhook(
            NewWebhook(
                webhook_id=self._new_id(),
                tenant=current_caller().tenant,
                url=wanted.url,
                event_types=wanted.event_types,
                description=wanted.description,
                secret=secret,
            )
        )
        _log.info("webhook_created", webhook=webhook.webhook_id)
        return pb.CreateWebhookResponse(webhook=webhook_message(webhook, self._clock.now()), secret=secret)

    async def GetWebhook(self, request: pb.GetWebhookRequest, context: _Context) -> pb.GetWebhookResponse:
        webhook = await self._store.get_webhook(_webhook_id(request.webhook_id), current_caller().sees)
        return pb.GetWebhookResponse(webhook=webhook_message(webhook, self._clock.now(), told=_told()))

    async def ListWebhooks(self, request: pb.ListWebhooksRequest, context: _Context) -> pb.ListWebhooksResponse:
        size = _page_size(request.page_size, request.page_token)
        page = await self._store.list_webhooks(current_caller().sees, page_size=size, page_token=request.page_token)
        now = self._clock.now()
        return pb.ListWebhooksResponse(
            webhooks=[webhook_message(webhook, now, told=_told()) for webhook in page.items],
            next_page_token=page.next_token,
        )

    async def UpdateWebhook(self, request: pb.UpdateWebhookRequest, context: _Context) -> pb.UpdateWebhookResponse:
        webhook_id = known_id("webhook", "webhook.webhook_id", request.webhook.webhook_id)
        update = check_webhook_update(request)
        await self._store.get_webhook(webhook_id, current_caller().sees)  # before any name is looked up for it
        if update.url is not None:
            await self._sender.check(update.url)
        webhook = await self._store.update_webhook(
            webhook_id,
            current_caller().sees,
            url=update.url,
            event_types=update.event_types,
            description=update.description,
            state=update.state,
        )
        _log.info("webhook_updated", webhook=webhook_id)
        return pb.UpdateWebhookResponse(webhook=webhook_message(webhook, self._clock.now()))

    async def DeleteWebhook(self, request: pb.DeleteWebhookRequest, context: _Context) -> pb.DeleteWebhookResponse:
        await self._store.delete_webhook(_webhook_id(request.webhook_id), current_caller().sees)
        _log.info("webhook_deleted", webhook=request.webhook_id)
        return pb.DeleteWebhookResponse()

    async def RotateWebhookSecret(
        self, request: pb.RotateWebhookSecretRequest, context: _Context
    ) -> pb.RotateWebhookSecretResponse:
        webhook_id, secret = _webhook_id(request.webhook_id), new_secret()
        webhook = await self._store.rotate_secret(
            webhook_id, current_caller().sees, secret, keep_old_for=check_keep_old_for(request)
        )
        _log.info("webhook_secret_rotated", webhook=webhook_id)
        return pb.RotateWebhookSecretResponse(webhook=webhook_message(webhook, self._clock.now()), secret=secret)

    async def TestWebhook(self, request: pb.TestWebhookRequest, context: _Context) -> pb.TestWebhookResponse:
        webhook_id, tenant = _webhook_id(request.webhook_id), current_caller().sees
        webhook = await self._store.get_webhook(webhook_id, tenant)
        keys = await self._store.secrets_of(webhook_id, tenant)
        message_id, now = f"msg_test_{secrets.token_hex(12)}", self._clock.now()
        body = trial_body(webhook_id, now)
        attempt = await self._sender.send(webhook.url, signed_headers(keys, message_id, now, body), body)
        return pb.TestWebhookResponse(delivery=tried_message(message_id, TEST_TYPE, attempt, now))

    async def ListDeliveries(self, request: pb.ListDeliveriesRequest, context: _Context) -> pb.ListDeliveriesResponse:
        webhook_id, size = _webhook_id(request.webhook_id), _page_size(request.page_size, request.page_token)
        page = await self._store.list_messages(
            webhook_id, current_caller().sees, page_size=size, page_token=request.page_token
        )
        return pb.ListDeliveriesResponse(
            deliveries=[delivery_message(message, told=_told()) for message in page.items],
            next_page_token=page.next_token,
        )

    async def RedeliverMessage(
        self, request: pb.RedeliverMessageRequest, context: _Context
    ) -> pb.RedeliverMessageResponse:
        message = await self._store.redeliver(
            _webhook_id(request.webhook_id),
            current_caller().sees,
            known_id("message", "message_id", request.message_id),
        )
        return pb.RedeliverMessageResponse(delivery=delivery_message(message))


def _told() -> Callable[[str], str]:
    """Return what makes of texts with URLs what the caller may see: all of it where it could have set them."""
    return str if current_caller().role.allows(Role.SUBMIT) else without_paths


def _webhook_id(given: str) -> str:
    return known_id("webhook", "webhook_id", given)


def _page_size(page_size: int, page_token: str) -> int:
    checks = Checks()
    size = checks.page(page_size, page_token, default=DEFAULT_PAGE_SIZE)
    checks.done()
    return size
