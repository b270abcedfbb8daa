"""Deletes state changes that are old enough, but for those that an active webhook has still to tell, for a while."""

from datetime import timedelta
from typing import Final

import structlog

from lorax_batch_scheduler.failpoints import failpoint
from lorax_batch_scheduler.ports.retention_store import RetentionStore

EVENTS_AT_ONCE: Final = 1_000

_log = structlog.get_logger()


class EventExpiry:
    """Takes one small step after the other."""

    def __init__(self, store: RetentionStore, *, undelivered: timedelta) -> None:
        """`undelivered`: how much longer a webhook that is behind can hold them; then it is disabled."""
        self._store = store
        self._undelivered = undelivered

    @failpoint(after="retention.after_events")
    async def step(self, kept: timedelta) -> tuple[int, bool]:
        """Delete some that are older than `kept`; return how many, and whether more may be due.

        Raises `DatabaseError`.
        """
        # What is needed only grows less meanwhile: webhooks go forward.
        needed_from = await self._needed_from(kept)
        count = await self._store.expire_events(kept, needed_from=needed_from, limit=EVENTS_AT_ONCE)
        return count, count == EVENTS_AT_ONCE

    async def _needed_from(self, kept: timedelta) -> int | None:
        """Return the first state change that an active webhook has still to tell, having disabled those too late."""
        needed = []
        for backlog in await self._store.webhook_backlogs():
            if backlog.age >= kept + self._undelivered:
                reason = (
                    f"it is {backlog.age.days} days behind: state changes that it has still to be told are kept for "
                    f"{kept + self._undelivered}; enabled again, it goes on with what is left"
                )
                if await self._store.disable_webhook(backlog, reason):
                    _log.warning("webhook_disabled", webhook=backlog.webhook_id, reason=reason)
                    continue
            needed.append(backlog.sequence)
        return min(needed, default=None)
