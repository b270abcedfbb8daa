"""Webhooks, their messages, and what came of a try."""

from datetime import datetime, timedelta
from enum import StrEnum

import msgspec

from lorax_batch_scheduler.errors import LoraxBatchError


class WebhookState(StrEnum):
    """Whether anything is sent."""

    ACTIVE = "ACTIVE"
    DISABLED = "DISABLED"


class MessageState(StrEnum):
    """What has become of a message."""

    WAITING = "WAITING"
    """For another try, or for an earlier message of its job."""
    DELIVERED = "DELIVERED"
    GIVEN_UP = "GIVEN_UP"


class TooManyWebhooksError(LoraxBatchError):
    """A tenant has as many webhooks as it may."""

    reason = "TOO_MANY_WEBHOOKS"

    def __init__(self, limit: int) -> None:
        super().__init__(f"there are {limit} webhooks, and no more are allowed: delete one, or change its URL")


class Webhook(msgspec.Struct, frozen=True, kw_only=True):
    """Where state changes are told, as its owner sees it: without its secrets."""

    webhook_no: int
    webhook_id: str
    tenant: str
    url: str
    event_types: list[str]
    """Empty: all."""
    description: str
    state: WebhookState
    reason: str
    failures: int
    """Rounds in a row in which no try succeeded."""
    failing_since: datetime | None
    not_before: datetime
    old_secret_until: datetime | None
    create_time: datetime
    update_time: datetime
    waiting: int = 0


class NewWebhook(msgspec.Struct, frozen=True, kw_only=True):
    """What a caller asks for, checked."""

    webhook_id: str
    tenant: str
    url: str
    event_types: list[str]
    description: str
    secret: str

    def __repr__(self) -> str:
        return f"NewWebhook({self.webhook_id})"


class ClaimedWebhook(msgspec.Struct, frozen=True, kw_only=True):
    """A webhook that this process delivers for now."""

    webhook_id: str
    tenant: str
    url: str
    event_types: list[str]
    secrets: list[str]
    """Those to sign with, the current one first."""
    cursor: int
    reason: str
    failures: int
    failing_since: datetime | None

    def __repr__(self) -> str:
        return f"ClaimedWebhook({self.webhook_id}, cursor={self.cursor})"


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """One event to tell, and how that went so far."""

    sequence: int
    job_id: str
    event_type: str
    state: MessageState = MessageState.WAITING
    attempts: int = 0
    due: datetime | None = None
    """When it is tried next; None: it does not wait."""
    first_try: datetime | None = None
    last_try: datetime | None = None
    status: int = 0
    """HTTP; 0: there was no answer."""
    latency: timedelta = timedelta()
    error: str = ""

    @property
    def message_id(self) -> str:
        """The header `webhook-id`: the same in every try, and in no other database."""
        return f"msg_{self.job_id}_{self.sequence}"


def parse_message_id(message_id: str) -> tuple[str, int] | None:
    """Return job id and sequence; None: it can be no id of a message."""
    job_id, _, sequence = message_id.removeprefix("msg_").rpartition("_")
    if not message_id.startswith("msg_") or not job_id or not sequence.isascii() or not sequence.isdecimal():
        return None
    number = int(sequence) if len(sequence) < 19 else 0
    return (job_id, number) if number else None


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """What came of one try."""

    status: int
    """HTTP; 0: there was no answer."""
    latency: timedelta
    error: str
    """Empty: it was delivered."""
    retry_after: timedelta = timedelta()
    """What the receiver asked for."""

    @property
    def delivered(self) -> bool:
        """Whether the receiver has it."""
        return not self.error

    @property
    def gone(self) -> bool:
        """Whether the receiver wants no more."""
        return self.status == 410
