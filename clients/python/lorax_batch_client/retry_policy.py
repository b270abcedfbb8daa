"""How long to go on when the service can't be reached, and how long to wait between two tries."""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from lorax_batch_client.errors import BrokenStreamError, ClientError, UnavailableError


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """When streams and uploads give up on a service that does not answer."""

    first_delay: timedelta = timedelta(milliseconds=100)
    """Doubled after each failed try."""
    longest_delay: timedelta = timedelta(seconds=5)
    connect_for: timedelta = timedelta(seconds=2)
    """How long to try when the service has not answered even once."""
    reconnect_for: timedelta | None = timedelta(minutes=15)
    """How long to try after the connection broke. None: until the service is back."""
    broken_streams: int = 10
    """Streams that may break in a row, without one message between, before the service is taken for faulty."""


class Patience:
    """Decides for one operation, after each error, how long to wait; raises the error when it is time to stop."""

    def __init__(
        self,
        policy: RetryPolicy,
        *,
        replicas: int = 1,
        monotonic: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._policy = policy
        self._replicas = replicas
        self._monotonic = monotonic
        self._chance = chance
        self._contacted = False
        self._failures = 0
        self._failing_since = 0.0

    def note_contact(self) -> None:
        """Note that the service answered, though the operation itself did not get further."""
        self._contacted = True

    def reset(self) -> None:
        """Note that the operation got further."""
        self._contacted = True
        self._failures = 0

    def delay_after(self, error: ClientError) -> float:
        """Return the seconds to wait before the next try.

        Raises the error itself when it is permanent or has lasted too long.
        """
        if not error.transient and error.facts.retry_after is None:
            raise error
        if error.reason == "QUOTA_EXCEEDED":
            raise error  # until something of the tenant's ends or is deleted, which may be days
        if error.reason:
            self.note_contact()  # gRPC's own errors have no reason
        now = self._monotonic()
        if self._failures == 0:
            self._failing_since = now
        self._failures += 1
        if self._is_spent(error, now - self._failing_since):
            raise error
        if isinstance(error, UnavailableError) and self._failures < self._replicas:
            return 0.0  # there is a replica that has not been tried yet
        if error.facts.retry_after is not None:
            return error.facts.retry_after.total_seconds()
        longest = self._policy.longest_delay.total_seconds()
        ceiling = min(longest, self._policy.first_delay.total_seconds() * 2.0 ** min(self._failures - 1, 30))
        # Half fixed, half by chance: watchers of a service that restarts do not come back all at once.
        return ceiling * (0.5 + 0.5 * self._chance())

    def _is_spent(self, error: ClientError, seconds: float) -> bool:
        if isinstance(error, BrokenStreamError) and self._failures >= self._policy.broken_streams:
            return True
        limit = self._policy.reconnect_for if self._contacted else self._policy.connect_for
        return limit is not None and seconds >= limit.total_seconds()
