"""How often tenants call this process: one bucket of tokens each."""

from collections.abc import Callable
from dataclasses import dataclass

from lorax_batch_server.errors import RateLimitedError


@dataclass(slots=True)
class _Bucket:
    tokens: float
    filled_at: float


class RequestRates:
    """A second's worth of requests may come at once; then one for each token that comes in."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._buckets: dict[str, _Bucket] = {}

    def take(self, tenant: str, limit: float | None) -> None:
        """Count a request; `limit` is in requests a second. Raises `RateLimitedError`."""
        if limit is None:
            return
        now, most = self._monotonic(), max(limit, 1.0)
        bucket = self._buckets.get(tenant)
        if bucket is None:
            bucket = self._buckets[tenant] = _Bucket(most, now)
        bucket.tokens = min(bucket.tokens + (now - bucket.filled_at) * limit, most)
        bucket.filled_at = now
        if bucket.tokens < 1.0:
            raise RateLimitedError(tenant, limit, (1.0 - bucket.tokens) / limit)
        bucket.tokens -= 1.0
