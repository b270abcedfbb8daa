"""How long to wait after failures."""

from dataclasses import dataclass
from datetime import timedelta
from random import Random


@dataclass(frozen=True, slots=True, kw_only=True)
class BackOff:
    """5 s, 15 s, 45 s, ... to an hour; and how long it goes on."""

    first: timedelta = timedelta(seconds=5)
    factor: float = 3.0
    longest: timedelta = timedelta(hours=1)
    give_up_after: timedelta = timedelta(days=5)

    def pause(self, failures: int, chance: Random, *, at_least: timedelta = timedelta()) -> timedelta:
        """Return how long to wait after so many failures in a row; a fifth of it by chance.

        `at_least`: what the receiver asked for, followed as far as our own longest pause goes.
        """
        # The exponent is bounded, and all of it a float: a timedelta overflows long before a webhook is given up.
        seconds = self.first.total_seconds() * self.factor ** min(failures - 1, 30)
        ceiling = timedelta(seconds=min(self.longest.total_seconds(), seconds))
        return max(ceiling * chance.uniform(0.8, 1.0), min(at_least, self.longest))
