"""What a process that delivers webhooks counts, and how all webhooks are."""

from collections import Counter
from collections.abc import Mapping
from enum import StrEnum

import msgspec

from lorax_batch_scheduler.telemetry.durations import Durations


class TryOutcome(StrEnum):
    """What came of one try to deliver a message."""

    DELIVERED = "delivered"
    REFUSED = "refused"
    """There was an answer, and it was no 2xx."""
    UNANSWERED = "unanswered"
    """The receiver was not reached, not allowed, or too slow."""


class WebhookSample(msgspec.Struct, frozen=True, kw_only=True):
    """How the webhooks of the database are, whoever delivers for them."""

    by_state: Mapping[str, int] = {}
    """How many are active, failing, disabled and disabled_by_owner; those that are missing: none."""
    oldest_s: float = 0.0
    """Age of the oldest state change that an active one has still to tell; 0: all is told."""

    @property
    def any_webhook(self) -> bool:
        """Whether there is anything to watch."""
        return bool(self.by_state)


class WebhookTally:
    """All counts of one process since it began; written on the event loop, read from any thread."""

    def __init__(self) -> None:
        self.tries: Counter[str] = Counter({outcome.value: 0 for outcome in TryOutcome})
        self.durations = Durations()
        self.given_up = 0
        """Messages that will not be tried again."""
        self.sample = WebhookSample()
        """The latest."""

    def tried(self, *, status: int, delivered: bool, seconds: float) -> None:
        """Count a try; `status` is 0 when there was no answer."""
        answered = TryOutcome.REFUSED if status else TryOutcome.UNANSWERED
        self.tries[TryOutcome.DELIVERED if delivered else answered] += 1
        self.durations.add(seconds)

    def gave_up(self) -> None:
        """Count a message that is given up."""
        self.given_up += 1
