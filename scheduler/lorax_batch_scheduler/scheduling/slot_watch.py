"""Watches one static slot: asks its URL until a server answers, then lets a runner work on it."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Final

import structlog

from lorax_batch_scheduler.clock import Clock
from lorax_batch_scheduler.errors import ServerUnreachableError
from lorax_batch_scheduler.fleet import ServerLimits, ServerState, ServerStatus, Slot
from lorax_batch_scheduler.ports.row_runner import LimitsProbe, RowRunner

ASK_INTERVAL_S: Final = 2.0
"""A server that loads its model answers nothing for a minute or more; the port is cheap to ask."""

_log = structlog.get_logger()

RunnerFactory = Callable[[Slot, ServerLimits], RowRunner]


class SlotWatch:
    """One slot, its server and its runner."""

    def __init__(
        self,
        slot: Slot,
        *,
        probe: LimitsProbe,
        make_runner: RunnerFactory,
        base_model_of: Callable[[str], str | None],
        on_change: Callable[[], None],
        clock: Clock,
    ) -> None:
        self.slot = slot
        self.runner: RowRunner | None = None
        self._probe = probe
        self._make_runner = make_runner
        self._base_model_of = base_model_of
        self._on_change = on_change
        self._clock = clock
        self._reason = "not asked yet"

    @property
    def server_id(self) -> str:
        """The server's id: one server a slot."""
        return self.slot.slot_id

    async def run(self) -> None:
        """Watch until cancelled, or until the runner was closed."""
        limits = await self._first_answer()
        self.runner = self._make_runner(self.slot, limits)
        _log.info("server_ready", server=self.server_id, url=self.slot.url, model=limits.model_id)
        self._on_change()
        await self.runner.run()

    async def _first_answer(self) -> ServerLimits:
        while True:
            try:
                limits = await self._probe.read_limits()
            except ServerUnreachableError as error:
                reason = error.detail
            else:
                if not limits.model_id and self.slot.default_model:
                    limits = replace(limits, model_id=self.slot.default_model)
                if limits.model_id or self.slot.declared_model:
                    return limits
                reason = "does not tell its model: declare it with model=NAME behind the URL"
            if reason != self._reason:
                _log.warning("server_unreachable", server=self.server_id, url=self.slot.url, reason=reason)
                self._reason = reason
                self._on_change()
            await self._clock.sleep(ASK_INTERVAL_S)

    def status(self) -> ServerStatus:
        """Return the server as callers see it."""
        if self.runner is None:
            return self._silent()
        status = self.runner.status()
        model = self.slot.declared_model or (status.limits.model_id if status.limits else "")
        return replace(status, base_model_id=self._base_model_of(model) if model else None)

    def _silent(self) -> ServerStatus:
        declared = self.slot.declared_model
        return ServerStatus(
            server_id=self.server_id,
            slot=self.slot,
            url=self.slot.url,
            state=ServerState.UNREACHABLE,
            reason=self._reason,
            limits=None,
            base_model_id=self._base_model_of(declared) if declared else None,
            in_flight=0,
            in_flight_limit=0,
            rows_per_second=0.0,
            tokens_per_second=0.0,
            warm_adapters=[],
            row_latency_s=None,
            ready_time=None,
            update_time=self._clock.now(),
        )


async def close_all(watches: list[SlotWatch], grace_s: float) -> None:
    """Let the rows in flight on all servers end."""
    async with asyncio.TaskGroup() as group:
        for watch in watches:
            if watch.runner is not None:
                group.create_task(watch.runner.close(grace_s))
