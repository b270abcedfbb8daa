"""The limit on rows that a server holds at once, waiting and running together."""

from lorax_simulator.faults import Faults


class Permits:
    """Gives out at most `limit` permits; who gets none is refused at once."""

    def __init__(self, limit: int, faults: Faults) -> None:
        self._limit = limit
        self._faults = faults
        self.taken = 0

    def take(self, count: int) -> bool:
        """Take that many permits, or none and return False."""
        lowered = self._faults.number("low-permits")
        limit = self._limit if lowered is None else min(self._limit, int(lowered))
        if self.taken + count > limit:
            if limit < self._limit:
                self._faults.fire("low-permits")
            return False
        self.taken += count
        return True

    def give(self, count: int) -> None:
        """Give permits back."""
        self.taken -= count
        assert self.taken >= 0, "more permits were given back than taken"
