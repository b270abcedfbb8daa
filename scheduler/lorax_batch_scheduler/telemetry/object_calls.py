"""Calls to the object store, counted by operation and outcome."""

from lorax_batch_scheduler.telemetry.durations import Durations


class ObjectCalls:
    """How long calls took, by what was asked and how it went."""

    def __init__(self) -> None:
        self._by_kind: dict[tuple[str, str], Durations] = {}

    def add(self, operation: str, outcome: str, seconds: float) -> None:
        """Count a call; `outcome` is `ok`, `not_found` or `error`."""
        durations = self._by_kind.get((operation, outcome))
        if durations is None:
            durations = self._by_kind[operation, outcome] = Durations()
        durations.add(seconds)

    def items(self) -> list[tuple[tuple[str, str], Durations]]:
        """Return all counts by (operation, outcome)."""
        return list(self._by_kind.items())
