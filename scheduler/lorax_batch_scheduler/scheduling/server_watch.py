"""Watches one server: asks its URL until it answers, then lets a runner work on it."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import Final

import structlog

from lorax_batch_scheduler.clock import Clock
from lorax_batch_scheduler.errors import ServerUnreachableError
from lorax_batch_scheduler.fleet import ServerLimits, ServerState, ServerStatus, Slot
from lorax_batch_scheduler.ports.row_runner import LimitsProbe, RowRunner

ASK_INTERVAL_S: Final = 2.0
"""A server that loads its model answers nothing for a minute or more; the port is cheap to ask."""

_log = structlog.get_logger()

RunnerFactory = Callable[[str, str, Slot, ServerLimits], RowRunner]
"""Of the server's id, its URL, its slot, and what it tells of itself."""


class ServerWatch:
    """One server and its runner."""

    def __init__(
        self,
        server_id: str,
        url: str,
        slot: Slot,
        *,
        asked_model: str = "",
        mismatch: Callable[[str], str] = lambda reported: "",
        probe: LimitsProbe,
        make_runner: RunnerFactory,
        base_model_of: Callable[[str], str | None],
        on_change: Callable[[], None],
        clock: Clock,
    ) -> None:
        """`asked_model`: what it was told to load; "" for a static server, which may run anything.

        `mismatch`: what is wrong with a server that reports a model; "" when it is the one asked for.
        """
        self.server_id = server_id
        self.url = url
        self.slot = slot
        self.runner: RowRunner | None = None
        self.wrong_model = ""
        """Why it gets no rows: it reports another model than it was asked to load."""
        self._asked_model = asked_model
        self._mismatch = mismatch
        self._probe = probe
        self._make_runner = make_runner
        self._base_model_of = base_model_of
        self._on_change = on_change
        self._clock = clock
        self.reason = "not asked yet"

    async def run(self) -> None:
        """Watch until cancelled, or until the runner was closed."""
        limits = await self._first_answer()
        self.wrong_model = self._mismatch(limits.model_id)
        if self.wrong_model:
            self.reason = self.wrong_model
            self._on_change()
            return
        self.runner = self._make_runner(self.server_id, self.url, self.slot, limits)
        _log.info("server_ready", server=self.server_id, url=self.url, model=limits.model_id)
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
            if reason != self.reason:
                if not self._asked_model:  # one that was just started is expected to be silent for a while
                    _log.warning("server_unreachable", server=self.server_id, url=self.url, reason=reason)
                self.reason = reason
                self._on_change()
            await self._clock.sleep(ASK_INTERVAL_S)

    def status(self) -> ServerStatus:
        """Return the server as callers see it."""
        if self.runner is None:
            return self._silent()
        status = self.runner.status()
        reported = status.limits.model_id if status.limits else ""
        model = self._asked_model or self.slot.declared_model or reported
        return replace(status, base_model_id=self._base_model_of(model) if model else None)

    def _silent(self) -> ServerStatus:
        declared = self._asked_model or self.slot.declared_model
        return idle_status(
            self.server_id,
            self.slot,
            self.url,
            ServerState.STARTING if self._asked_model else ServerState.UNREACHABLE,
            self.reason,
            base_model_id=self._base_model_of(declared) if declared else None,
            now=self._clock.now(),
        )


def idle_status(
    server_id: str,
    slot: Slot,
    url: str,
    state: ServerState,
    reason: str,
    *,
    base_model_id: str | None,
    now: datetime,
) -> ServerStatus:
    """Return how a server is that gets no rows and reports nothing."""
    return ServerStatus(
        server_id=server_id,
        slot=slot,
        url=url,
        state=state,
        reason=reason,
        limits=None,
        base_model_id=base_model_id,
        in_flight=0,
        in_flight_limit=0,
        rows_per_second=0.0,
        tokens_per_second=0.0,
        warm_adapters=[],
        row_latency_s=None,
        ready_time=None,
        update_time=now,
    )
