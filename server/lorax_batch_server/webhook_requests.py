"""Checks requests about webhooks and turns them into the scheduler's values; pure."""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from lorax_batch.v1 import webhooks_pb2 as pb
from lorax_batch_scheduler.webhooks.address_rules import MAX_URL_CHARACTERS
from lorax_batch_scheduler.webhooks.payload import EVENT_TYPES
from lorax_batch_scheduler.webhooks.webhook import WebhookState

from lorax_batch_server.checks import MAX_REASON_CHARACTERS, Checks, shown
from lorax_batch_server.translate_webhook import STATES_BY_NUMBER

MAX_KEEP_OLD: Final = timedelta(days=30)
DEFAULT_KEEP_OLD: Final = timedelta(hours=24)
_MASK: Final = ("url", "event_types", "description", "state")
_MAX_MASK_PATHS: Final = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class WantedWebhook:
    """What a caller gives of a new webhook."""

    url: str
    event_types: list[str]
    description: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookUpdate:
    """What is to be changed; None: as it is."""

    url: str | None
    event_types: list[str] | None
    description: str | None
    state: WebhookState | None


def check_new_webhook(message: pb.Webhook) -> WantedWebhook:
    """Return the webhook to make. Raises `InvalidRequestError`."""
    checks = Checks()
    _check_url(checks, message.url)
    types = _event_types(checks, message.event_types)
    checks.text("webhook.description", message.description, limit=MAX_REASON_CHARACTERS)
    checks.done()
    return WantedWebhook(url=message.url, event_types=types, description=message.description)


def check_webhook_update(request: pb.UpdateWebhookRequest) -> WebhookUpdate:
    """Return what to change. Raises `InvalidRequestError`."""
    checks, webhook, paths = Checks(), request.webhook, set(request.update_mask.paths)
    if not paths:
        checks.fail("update_mask", f"is empty: name what to change, of {', '.join(_MASK)}")
    fits = checks.size("update_mask", len(paths), limit=_MAX_MASK_PATHS)
    for path in sorted(paths.difference(_MASK)) if fits else ():
        checks.fail("update_mask", f"{shown(path)} can't be changed; only {', '.join(_MASK)} can")
    if "url" in paths:
        _check_url(checks, webhook.url)
    types = _event_types(checks, webhook.event_types) if "event_types" in paths else None
    if "description" in paths:
        checks.text("webhook.description", webhook.description, limit=MAX_REASON_CHARACTERS)
    state = STATES_BY_NUMBER.get(webhook.state)
    if "state" in paths and state is None:
        checks.fail("webhook.state", f"{int(webhook.state)} is not a state to set: 1 (ACTIVE) and 2 (DISABLED) are")
    checks.done()
    return WebhookUpdate(
        url=webhook.url if "url" in paths else None,
        event_types=types,
        description=webhook.description if "description" in paths else None,
        state=state if "state" in paths else None,
    )


def check_keep_old_for(request: pb.RotateWebhookSecretRequest) -> timedelta | None:
    """Return how long the old secret stays good; None: not at all. Raises `InvalidRequestError`."""
    if not request.HasField("keep_old_for"):
        return DEFAULT_KEEP_OLD
    checks = Checks()
    # Not by its own conversion, which fails beyond what a timedelta can be.
    seconds = request.keep_old_for.seconds + request.keep_old_for.nanos / 1e9
    checks.number("keep_old_for", seconds, low=0.0, high=MAX_KEEP_OLD.total_seconds())
    checks.done()
    return timedelta(seconds=seconds) if seconds else None


def _check_url(checks: Checks, url: str) -> None:
    """Check what any text must be; whether it may be called is for those who call it."""
    checks.text("webhook.url", url, limit=MAX_URL_CHARACTERS, required=True)


def _event_types(checks: Checks, given: Sequence[str]) -> list[str]:
    if not checks.size("webhook.event_types", len(given), limit=len(EVENT_TYPES)):
        return []
    for number, name in enumerate(given):
        if name not in EVENT_TYPES:
            near = difflib.get_close_matches(name[:100], EVENT_TYPES, n=1)
            meant = f"was {near[0]} meant?" if near else f"there are {', '.join(EVENT_TYPES)}"
            checks.fail(f"webhook.event_types[{number}]", f"{shown(name)} is no type of event: {meant}")
    return sorted(set(given))
