"""Webhooks, the messages that wait, and the log of those that do not any more."""

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Protocol

from lorax_batch_scheduler.job import StateChange
from lorax_batch_scheduler.ports.page import Page
from lorax_batch_scheduler.telemetry.webhook_tally import WebhookSample
from lorax_batch_scheduler.webhooks.round import Fresh, RoundResult
from lorax_batch_scheduler.webhooks.webhook import ClaimedWebhook, Message, NewWebhook, Webhook, WebhookState


class WebhookStore(Protocol):
    """What owners do with webhooks; one of another tenant than the given (None: any) raises `NotFoundError`.

    Raises `DatabaseError` when out of reach.
    """

    async def create_webhook(self, new: NewWebhook) -> Webhook:
        """Store a webhook that tells what happens from now on. Raises `TooManyWebhooksError`."""
        ...

    async def get_webhook(self, webhook_id: str, tenant: str | None) -> Webhook:
        """Return a webhook."""
        ...

    async def list_webhooks(self, tenant: str | None, *, page_size: int, page_token: str) -> Page[Webhook]:
        """Return a page, newest first."""
        ...

    async def update_webhook(
        self,
        webhook_id: str,
        tenant: str | None,
        *,
        url: str | None = None,
        event_types: list[str] | None = None,
        description: str | None = None,
        state: WebhookState | None = None,
    ) -> Webhook:
        """Change what is given; a webhook that is made active, or gets another URL, is tried at once."""
        ...

    async def rotate_secret(
        self, webhook_id: str, tenant: str | None, secret: str, *, keep_old_for: timedelta | None
    ) -> Webhook:
        """Sign with another secret, and for so long with the one before too."""
        ...

    async def delete_webhook(self, webhook_id: str, tenant: str | None) -> None:
        """Delete a webhook with its messages."""
        ...

    async def list_messages(
        self, webhook_id: str, tenant: str | None, *, page_size: int, page_token: str
    ) -> Page[Message]:
        """Return a page of what waits and of the log, the newest event first."""
        ...

    async def redeliver(self, webhook_id: str, tenant: str | None, message_id: str) -> Message:
        """Have a message sent again.

        Raises:
            NotFoundError: it is no message of this webhook, or its event is no longer kept.
            StateConflictError: the webhook is disabled.
        """
        ...

    async def secrets_of(self, webhook_id: str, tenant: str | None) -> list[str]:
        """Return the secrets to sign with now, the current one first."""
        ...


class DeliveryStore(Protocol):
    """What a process that delivers needs. Raises `DatabaseError` when out of reach."""

    async def any_webhook(self) -> bool:
        """Tell whether anything is ever to be delivered."""
        ...

    async def claim(self, holder: str, lease: timedelta, *, limit: int) -> list[ClaimedWebhook]:
        """Take webhooks that have something to send and that nobody else has, for so long on database time."""
        ...

    async def waiting(self, webhook: ClaimedWebhook) -> list[Message]:
        """Return the messages that wait, in the order of their events."""
        ...

    async def fresh(self, webhook: ClaimedWebhook, *, limit: int) -> Fresh:
        """Return the events behind the cursor that are to be told."""
        ...

    async def changes(self, sequences: Sequence[int]) -> dict[int, StateChange]:
        """Return state changes by sequence; those that are no longer kept are missing."""
        ...

    async def save(self, holder: str, webhook: ClaimedWebhook, result: RoundResult) -> bool:
        """Store what came of a round and give the webhook back; False, and nothing is stored: others have it by now."""
        ...

    async def renew(self, holder: str, webhook_id: str, lease: timedelta) -> bool:
        """Keep a webhook for so long from now; False: others have it by now, or it was deleted."""
        ...

    async def release_all(self) -> None:
        """Free what processes that are gone have taken; for the only process of a database."""
        ...

    async def release(self, holder: str) -> None:
        """Give back all that a process has taken."""
        ...

    async def sample(self) -> WebhookSample:
        """Look at all webhooks once."""
        ...

    def on_webhooks(self, hear: Callable[[], None]) -> Callable[[], None]:
        """Call `hear` when a webhook may have been made, changed or deleted; return what ends that."""
        ...

    def on_events(self, hear: Callable[[], None]) -> Callable[[], None]:
        """Call `hear` when a job may have changed; return what ends that."""
        ...
