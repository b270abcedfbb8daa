"""When results were committed, as watches tell it."""

import asyncio
import time
from bisect import bisect_right

from lorax_batch_client import Job


class Pulse:
    """Remembers the moments of commits of rows that servers answered."""

    def __init__(self) -> None:
        self.moments: list[float] = []
        self.rows = 0
        self._known: dict[str, int] = {}
        self._beat = asyncio.Event()

    def note(self, job: Job) -> None:
        """Take a job as it was told; a commit is where it has more rows than it ever had."""
        run = job.counts.succeeded + job.counts.failed
        more = run - self._known.get(job.job_id, 0)
        if more <= 0:
            return
        self._known[job.job_id] = run
        self.rows += more
        # The time of the database is that of this machine; a job that was read later may have been changed since.
        self.moments.append(job.update_time.timestamp() if job.update_time is not None else time.time())
        self._beat.set()

    def first_after(self, moment: float) -> float | None:
        """Return the first commit after a moment."""
        later = [at for at in self.moments[-2_000:] if at > moment]
        return min(later, default=None)

    def recovery_s(self, moment: float, until: float) -> float | None:
        """Return the seconds from a moment to the next commit; None when `until` came before it."""
        moments = sorted(self.moments)
        place = bisect_right(moments, moment)
        if place == len(moments) or moments[place] > until:
            return None
        return moments[place] - moment

    async def wait_after(self, moment: float, timeout_s: float) -> bool:
        """Return once there was a commit after that moment; False when none came in time."""
        try:
            async with asyncio.timeout(timeout_s):
                while self.first_after(moment) is None:
                    self._beat.clear()
                    await self._beat.wait()
        except TimeoutError:
            return False
        return True
