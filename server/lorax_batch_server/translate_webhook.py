"""Webhooks and deliveries as messages of the contract."""

import re
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

from google.protobuf.duration_pb2 import Duration
from lorax_batch.v1 import webhooks_pb2 as pb
from lorax_batch_scheduler.redaction import BLOT
from lorax_batch_scheduler.webhooks.webhook import Attempt, Message, MessageState, Webhook, WebhookState

from lorax_batch_server.timestamps import timestamp

STATE_NUMBERS: Final[dict[WebhookState, pb.WebhookState.ValueType]] = {
    state: pb.WebhookState.Value(f"WEBHOOK_STATE_{state.value}") for state in WebhookState
}
STATES_BY_NUMBER: Final = {number: state for state, number in STATE_NUMBERS.items()}
DELIVERY_NUMBERS: Final[dict[MessageState, pb.DeliveryState.ValueType]] = {
    state: pb.DeliveryState.Value(f"DELIVERY_STATE_{state.value}") for state in MessageState
}


_BEHIND_HOST: Final = re.compile(r"(https?://[^/?\s]+|(?<!\S))[/?]\S+")


def without_paths(text: str) -> str:
    """Blot out what stands behind the hosts of URLs: receivers have their secrets in paths and queries."""
    return _BEHIND_HOST.sub(rf"\1/{BLOT}", text)


def webhook_message(webhook: Webhook, now: datetime, *, told: Callable[[str], str] = str) -> pb.Webhook:
    """Return the message, without any secret; `told` makes of a text with URLs what the caller may see of it."""
    old_is_good = webhook.old_secret_until is not None and webhook.old_secret_until > now
    return pb.Webhook(
        webhook_id=webhook.webhook_id,
        url=told(webhook.url),
        event_types=webhook.event_types,
        description=webhook.description,
        state=STATE_NUMBERS[webhook.state],
        reason=told(webhook.reason),
        failing_since=timestamp(webhook.failing_since),
        next_try_time=timestamp(webhook.not_before) if webhook.failures else None,
        waiting=webhook.waiting,
        create_time=timestamp(webhook.create_time),
        update_time=timestamp(webhook.update_time),
        old_secret_until=timestamp(webhook.old_secret_until) if old_is_good else None,
    )


def delivery_message(message: Message, *, told: Callable[[str], str] = str) -> pb.Delivery:
    """Return the message for one that is or was to be delivered; `told` as above."""
    return pb.Delivery(
        message_id=message.message_id,
        event_type=message.event_type,
        job_id=message.job_id,
        sequence=message.sequence,
        state=DELIVERY_NUMBERS[message.state],
        attempts=message.attempts,
        status=message.status,
        latency=_duration(message.latency),
        error=told(message.error),
        last_try_time=timestamp(message.last_try),
        next_try_time=timestamp(message.due),
    )


def tried_message(message_id: str, event_type: str, attempt: Attempt, time: datetime) -> pb.Delivery:
    """Return the message for one that was tried once and never again."""
    state = MessageState.DELIVERED if attempt.delivered else MessageState.GIVEN_UP
    return pb.Delivery(
        message_id=message_id,
        event_type=event_type,
        state=DELIVERY_NUMBERS[state],
        attempts=1,
        status=attempt.status,
        latency=_duration(attempt.latency),
        error=attempt.error,
        last_try_time=timestamp(time),
    )


def _duration(span: timedelta) -> Duration:
    message = Duration()
    message.FromTimedelta(span)
    return message
