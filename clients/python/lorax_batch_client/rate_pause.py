"""How long one call may wait because its tenant calls too often."""

from lorax_batch_client.errors import ResourceExhaustedError


class RatePause:
    """Adds up the waits of one call; a call that was refused for its rate had no effect, so it may be made again."""

    def __init__(self, limit_s: float) -> None:
        self._left_s = limit_s

    def after(self, error: ResourceExhaustedError) -> float:
        """Return the seconds to wait; raise the error itself when waiting does not help, or has lasted too long."""
        if not error.is_rate_limit or error.facts.retry_after is None:
            raise error
        delay = max(error.facts.retry_after.total_seconds(), 0.001)
        self._left_s -= delay
        if self._left_s < 0:
            raise error
        return delay
