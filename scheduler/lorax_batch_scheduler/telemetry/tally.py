"""What a scheduler counts while it works: per commit, per plan, per retry; never per row that goes well.

Plain numbers, written on the event loop and read by whoever publishes them, from any thread.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from lorax_batch_scheduler.estimates.calibration import Coverage
from lorax_batch_scheduler.ports.lease import ChunkResults
from lorax_batch_scheduler.telemetry.durations import Durations
from lorax_batch_scheduler.work import RowOutcome

MAX_REASONS: Final = 64
"""Codes of retries come from a closed set, which is smaller; a mistake there must not grow without bound."""
OTHER: Final = "other"


class Tally:
    """All counts of one scheduler since it began."""

    def __init__(self) -> None:
        self.rows: Counter[str] = Counter({outcome.lower(): 0 for outcome in RowOutcome})
        """Committed results, by outcome."""
        self.tokens: Counter[str] = Counter({"prompt": 0, "completion": 0})
        self.retries: Counter[str] = Counter()
        """Rows sent again, by the code of the error they would have had."""
        self.commits = Durations()
        self.plans = Durations()
        self.chunks_lost = 0
        """Chunks whose results were thrown away, because somebody else runs them."""
        self.leases_lost = 0
        """Leases of the scheduler itself."""
        self.ingested_bytes = 0
        """As they are read; a dataset that is ingested anew counts again."""
        self.ingested_rows = 0
        self.datasets: Counter[str] = Counter({"ready": 0, "failed": 0})
        self.coverage: Callable[[], Sequence[Coverage]] = tuple
        """How often ends fell within the foretold band; whoever foretells puts its `Calibration.coverage` here."""

    def committed(self, results: Iterable[ChunkResults], seconds: float, *, lost: int) -> None:
        """Count a commit that was stored, and the chunks of it that were not ours any more."""
        self.commits.add(seconds)
        self.chunks_lost += lost
        rows, tokens = self.rows, self.tokens
        for result in results:
            rows["succeeded"] += result.succeeded
            rows["failed"] += result.failed
            rows["cancelled"] += result.cancelled
            rows["expired"] += result.expired
            rows["invalid"] += result.invalid
            tokens["prompt"] += result.prompt_tokens
            tokens["completion"] += result.completion_tokens

    def retried(self, reason: str) -> None:
        """Count a row that is to be sent again."""
        known = reason in self.retries or len(self.retries) < MAX_REASONS
        self.retries[reason if known else OTHER] += 1

    def lease_lost(self) -> None:
        """The scheduler's lease was lost, and with it all its chunks."""
        self.leases_lost += 1

    def ingested(self, outcome: str, rows: int) -> None:
        """Count a dataset that is `ready` or has `failed`."""
        self.datasets[outcome] += 1
        self.ingested_rows += rows
