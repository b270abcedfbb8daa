"""A server of the fleet: where it runs, who watches it, and how far it is."""

import asyncio
from dataclasses import dataclass, replace
from typing import Final

import structlog

from lorax_batch_scheduler.fleet import ServerState, ServerStatus
from lorax_batch_scheduler.launching.row_need import limits_of
from lorax_batch_scheduler.packing import ServerView
from lorax_batch_scheduler.ports.row_runner import RowRunner
from lorax_batch_scheduler.ports.server_host import LaunchedServer, ServerHost
from lorax_batch_scheduler.scheduling.server_view import view_of
from lorax_batch_scheduler.scheduling.server_watch import ServerWatch

DRAIN_S: Final = 900.0
"""Rows in flight on a server that leaves may take so long; what is left then is given to another."""

_log = structlog.get_logger()


@dataclass(slots=True, eq=False)
class FleetMember:
    """One server; `watching` and `leaving` are tasks of the fleet's group."""

    host: ServerHost
    launched: LaunchedServer
    watch: ServerWatch
    since: float
    """Monotonic seconds: when it was started, or found."""
    family: str
    """The hash of what it was started with; "" for a static one."""
    watching: asyncio.Task[None] | None = None
    leaving: asyncio.Task[None] | None = None
    leaves_because: str = ""
    ready_at: float | None = None
    idle_since: float | None = None

    @property
    def server_id(self) -> str:
        return self.watch.server_id

    @property
    def runner(self) -> RowRunner | None:
        """What sends rows to it; None while it has never answered."""
        return self.watch.runner

    @property
    def is_fixed(self) -> bool:
        """Whether it is neither started nor stopped by us."""
        return self.watch.slot.is_fixed

    def look(self, now: float) -> bool:
        """Take note of what has changed; return whether it has become ready just now."""
        runner = self.runner
        if runner is None:
            return False
        became_ready = self.ready_at is None
        if became_ready:
            self.ready_at = now
        busy = runner.queued_rows or runner.status().in_flight
        self.idle_since = None if busy else self.idle_since if self.idle_since is not None else now
        return became_ready

    def status(self) -> ServerStatus:
        """Return it as callers see it."""
        status = self.watch.status()
        status = replace(status, config=self.launched.config, launch_arguments=self.launched.arguments)
        if self.leaving is not None:
            return replace(status, state=ServerState.DRAINING, reason=self.leaves_because)
        return status

    def view(self, working_on: set[str]) -> ServerView:
        """Return it as the planner of rows sees it."""
        status, runner = self.status(), self.runner
        queued = runner.queued_rows if runner is not None else 0
        taking = runner is not None and runner.wants_work and self.leaving is None
        wanted = max(runner.look_ahead_rows - queued, 0) if runner is not None and taking else 0
        total, longest_input = limits_of(status)
        return replace(
            view_of(status, self.family),
            max_total_tokens=total,
            max_input_length=longest_input,
            wanted_rows=wanted,
            load=(queued + status.in_flight) / max(status.in_flight_limit, 1),
            queued_rows=queued,
            fullness=runner.fullness if runner is not None else 0.0,
            working_on=frozenset(working_on),
            warm=frozenset(status.warm_adapters),
        )

    async def leave(self, *, grace_s: float = DRAIN_S) -> None:
        """Send no more rows, let those in flight end, and end the server if it is ours to end."""
        _log.info("server_draining", server=self.server_id, reason=self.leaves_because)
        if self.runner is not None:
            await self.runner.close(grace_s)
        if not self.is_fixed:
            await self.host.stop(self.server_id)
