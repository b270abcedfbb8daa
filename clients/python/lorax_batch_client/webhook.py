"""Webhooks and deliveries as the service tells them."""

import enum
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask
from lorax_batch.v1 import webhooks_pb2

from lorax_batch_client.timestamps import datetime_from


class WebhookState(enum.Enum):
    """Whether anything is sent."""

    UNKNOWN = "unknown"
    """A state that this client does not know: the service is newer."""
    ACTIVE = "active"
    DISABLED = "disabled"

    @classmethod
    def from_proto(cls, number: int) -> "WebhookState":
        """Return the state with that number in the contract."""
        try:
            name = webhooks_pb2.WebhookState.Name(webhooks_pb2.WebhookState.ValueType(number))
            return cls[name.removeprefix("WEBHOOK_STATE_")]
        except (KeyError, ValueError):
            return cls.UNKNOWN

    def to_proto(self) -> webhooks_pb2.WebhookState.ValueType:
        """Return the number of the state in the contract."""
        return webhooks_pb2.WebhookState.Value(f"WEBHOOK_STATE_{self.name}")


class DeliveryState(enum.Enum):
    """What has become of a message."""

    UNKNOWN = "unknown"
    """A state that this client does not know: the service is newer."""
    WAITING = "waiting"
    """For another try, or for an earlier message of its job."""
    DELIVERED = "delivered"
    GIVEN_UP = "given_up"

    @classmethod
    def from_proto(cls, number: int) -> "DeliveryState":
        """Return the state with that number in the contract."""
        try:
            name = webhooks_pb2.DeliveryState.Name(webhooks_pb2.DeliveryState.ValueType(number))
            return cls[name.removeprefix("DELIVERY_STATE_")]
        except (KeyError, ValueError):
            return cls.UNKNOWN


@dataclass(frozen=True, slots=True, kw_only=True)
class Webhook:
    """Where state changes of jobs are told."""

    webhook_id: str
    url: str
    event_types: tuple[str, ...]
    """None: all of them."""
    description: str
    state: WebhookState
    reason: str
    """Why it is disabled, or what the last try met with while it fails."""
    failing_since: datetime | None
    next_try_time: datetime | None
    """None: it does not fail."""
    waiting: int
    """Messages that wait for another try."""
    create_time: datetime | None
    update_time: datetime | None
    old_secret_until: datetime | None
    """Messages are signed with the secret before too, until then."""

    @classmethod
    def from_proto(cls, message: webhooks_pb2.Webhook) -> "Webhook":
        """Return the webhook of a message."""
        return cls(
            webhook_id=message.webhook_id,
            url=message.url,
            event_types=tuple(message.event_types),
            description=message.description,
            state=WebhookState.from_proto(message.state),
            reason=message.reason,
            failing_since=datetime_from(message.failing_since),
            next_try_time=datetime_from(message.next_try_time),
            waiting=message.waiting,
            create_time=datetime_from(message.create_time),
            update_time=datetime_from(message.update_time),
            old_secret_until=datetime_from(message.old_secret_until),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookWithSecret:
    """A webhook and the secret that its messages are signed with, which is told only once."""

    webhook: Webhook
    secret: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One message, and what came of its last try."""

    message_id: str
    """The header `webhook-id`."""
    event_type: str
    job_id: str
    sequence: int
    state: DeliveryState
    attempts: int
    status: int
    """HTTP; 0: there was no answer."""
    latency: timedelta
    error: str
    last_try_time: datetime | None
    next_try_time: datetime | None

    @classmethod
    def from_proto(cls, message: webhooks_pb2.Delivery) -> "Delivery":
        """Return the delivery of a message."""
        return cls(
            message_id=message.message_id,
            event_type=message.event_type,
            job_id=message.job_id,
            sequence=message.sequence,
            state=DeliveryState.from_proto(message.state),
            attempts=message.attempts,
            status=message.status,
            latency=message.latency.ToTimedelta(),
            error=message.error,
            last_try_time=datetime_from(message.last_try_time),
            next_try_time=datetime_from(message.next_try_time),
        )


def webhook_id_of(webhook: Webhook | str) -> str:
    """Return the id of a webhook that is given by value or by id."""
    return webhook if isinstance(webhook, str) else webhook.webhook_id


def create_webhook_request(
    url: str, *, event_types: Sequence[str], description: str
) -> webhooks_pb2.CreateWebhookRequest:
    """Return the request for a new webhook."""
    webhook = webhooks_pb2.Webhook(url=url, event_types=event_types, description=description)
    return webhooks_pb2.CreateWebhookRequest(webhook=webhook)


def update_webhook_request(
    webhook: Webhook | str,
    *,
    url: str | None,
    event_types: Sequence[str] | None,
    description: str | None,
    enabled: bool | None,
) -> webhooks_pb2.UpdateWebhookRequest:
    """Return the request that changes only what is given."""
    changed = webhooks_pb2.Webhook(webhook_id=webhook_id_of(webhook))
    paths = []
    if url is not None:
        changed.url = url
        paths.append("url")
    if event_types is not None:
        changed.event_types.extend(event_types)
        paths.append("event_types")
    if description is not None:
        changed.description = description
        paths.append("description")
    if enabled is not None:
        changed.state = (WebhookState.ACTIVE if enabled else WebhookState.DISABLED).to_proto()
        paths.append("state")
    if not paths:
        raise ValueError("nothing to change: give a URL, event types, a description or whether it is enabled")
    return webhooks_pb2.UpdateWebhookRequest(webhook=changed, update_mask=FieldMask(paths=paths))


def rotate_secret_request(
    webhook: Webhook | str, *, keep_old_for: timedelta | None
) -> webhooks_pb2.RotateWebhookSecretRequest:
    """Return the request for another secret."""
    request = webhooks_pb2.RotateWebhookSecretRequest(webhook_id=webhook_id_of(webhook))
    if keep_old_for is not None:
        span = Duration()
        span.FromTimedelta(keep_old_for)
        request.keep_old_for.CopyFrom(span)
    return request
