"""Works on chunks against one server: sends their rows, and keeps an eye on the server meanwhile."""

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime

import structlog

from lorax_batch_scheduler.clock import Clock
from lorax_batch_scheduler.errors import ServerUnreachableError
from lorax_batch_scheduler.fleet import ServerLimits, ServerState, ServerStatus, Slot
from lorax_batch_scheduler.lorax_servers import Health, ServerAddress, ServerProbe, WireFault
from lorax_batch_scheduler.running.in_flight_limit import InFlightLimit
from lorax_batch_scheduler.running.row_pump import PumpEvents, RowPump
from lorax_batch_scheduler.running.server_condition import ServerCondition
from lorax_batch_scheduler.running.watchdog import Watchdog
from lorax_batch_scheduler.tls.client_tls import ClientTls
from lorax_batch_scheduler.work import ChunkWork, ResultSink

MIN_LOOK_AHEAD_ROWS = 256
MAX_LOOK_AHEAD_ROWS = 4_000
LOOK_AHEAD_S = 0.25
"""So much time whoever gives work may need."""

CHECK_S = 1.0
"""How often rows that are overdue are looked for."""
SIGNS_OF_LIFE = 3
BETWEEN_SIGNS_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RunnerSettings:
    """How patient a runner is; all in seconds."""

    sweep_s: float = 0.05
    row_timeout_s: float = 900.0
    """LoRAX has no time limit of its own."""
    row_timeout_per_token_s: float = 0.25
    canary_timeout_s: float = 3_600.0
    """Taking a row from an adapter that is still loading can bring the server down."""
    stall_after_s: float = 120.0
    hold_s: float = 15.0
    """How long chunks wait for a server that is gone before they are given back."""


class ServerRunner:
    """Runs rows on one server. `run` must run for anything to happen; all else is synchronous but `close`."""

    def __init__(
        self,
        *,
        server_id: str,
        url: str,
        limits: ServerLimits,
        slot: Slot,
        sink: ResultSink,
        clock: Clock,
        chance: random.Random,
        on_returned: Callable[[ChunkWork], None],
        on_idle: Callable[[], None],
        log: structlog.typing.FilteringBoundLogger,
        settings: RunnerSettings | None = None,
        on_retry: Callable[[str], None] = lambda code: None,
        on_timed: Callable[[ChunkWork, int, float], None] = lambda work, row, seconds: None,
        tls: ClientTls | None = None,
    ) -> None:
        self.server_id = server_id
        self.url = url
        self.slot = slot
        self.limits = limits = _with_model(limits, slot)
        self._clock = clock
        self._settings = settings or RunnerSettings()
        self._on_idle = on_idle
        self._log = log
        self._probe = ServerProbe(url, tls=tls)
        self._condition = ServerCondition(chance)
        self._watchdog = Watchdog(self._settings.stall_after_s)
        self._watchdog.rest(clock.monotonic())
        self._draining = False
        self._ready_time: datetime | None = clock.now()
        self._busy = asyncio.Event()
        self._trouble = asyncio.Event()
        self._stalled = False
        self._stopped = asyncio.Event()
        self._empty = asyncio.Event()
        self._pump = RowPump(
            server_id=server_id,
            address=ServerAddress.from_url(url),
            limits=limits,
            limit=InFlightLimit(limits, slot.max_in_flight),
            sink=sink,
            clock=clock,
            chance=chance,
            events=PumpEvents(
                on_returned=on_returned,
                on_low=self._ask_for_work,
                on_sick=self._sick,
                on_gone=self._gone,
                on_retry=on_retry,
                on_timed=on_timed,
            ),
            tls=tls,
        )
        self._next_check = 0.0
        self._set_low_water()

    def __repr__(self) -> str:
        pump = self._pump
        return f"<ServerRunner {self.server_id} {self._state} in_flight={pump.in_flight} queued={pump.queue.size}>"

    # --- work --------------------------------------------------------------------------------------------------------

    def give(self, work: ChunkWork) -> None:
        """Take a chunk with all rows in `work.waiting`; it is this runner's until every row has its result or
        `on_returned` gives it back."""
        work.withdrawn = False
        self._pump.accept(work)
        self._busy.set()

    def withdraw(self, job_id: str) -> None:
        """Send no more rows of a job; its chunks come back when nothing of them is in flight."""
        self._pump.withdraw(lambda queued: queued.work.job_id == job_id)

    def give_up(self, work: ChunkWork) -> None:
        """Send no more rows of a chunk; it comes back when nothing of it is in flight."""
        self._pump.withdraw(lambda queued: queued.work is work)

    def split(self, work: ChunkWork, count: int) -> ChunkWork | None:
        """Take so many unsent rows out of a chunk, as work for another server; None: there are none to take."""
        rows = self._pump.queue.take_out(work, count)
        return work.split_off(rows) if rows else None

    def fill(self, part: float) -> None:
        """Have no more in flight than this part of what the server says that it holds."""
        self._pump.limit.window = part

    @property
    def fullness(self) -> float:
        """How much is in flight of what may be."""
        return self._pump.limit.fullness(self._pump.in_flight, self._pump.tokens_in_flight)

    @property
    def window_part(self) -> float:
        """How much may be in flight of what the server holds, as `fill` has said."""
        return self._pump.limit.window_part

    def drain(self) -> None:
        """Send no more rows at all; every chunk comes back when nothing of it is in flight."""
        self._draining = True
        self._pump.sending = False
        self._pump.withdraw(lambda _: True)
        self._busy.set()

    @property
    def queued_rows(self) -> int:
        """Rows given but not in flight."""
        return self._pump.queue.size

    @property
    def look_ahead_rows(self) -> int:
        """How many rows it wants to have queued."""
        wanted = max(2 * self._pump.limit.target_rows, int(self._pump.rate.rows_per_second * LOOK_AHEAD_S))
        return max(MIN_LOOK_AHEAD_ROWS, min(MAX_LOOK_AHEAD_ROWS, wanted))

    @property
    def wants_work(self) -> bool:
        """Whether more chunks should be given."""
        return self._condition.ready and not self._draining and self.queued_rows < self.look_ahead_rows

    def status(self) -> ServerStatus:
        """Return the server as callers see it; the catalogue's name of its model is for others to add."""
        pump = self._pump
        pump.rate.update(self._clock.monotonic())
        return ServerStatus(
            server_id=self.server_id,
            slot=self.slot,
            url=self.url,
            state=self._state,
            reason=self._condition.reason,
            limits=self.limits,
            base_model_id=None,
            in_flight=pump.in_flight,
            in_flight_limit=pump.limit.target_rows,
            rows_per_second=pump.rate.rows_per_second,
            tokens_per_second=pump.rate.tokens_per_second,
            warm_adapters=pump.queue.warm_adapters,
            adapter_loads=pump.queue.loads,
            row_latency_s=pump.rate.latency_s,
            ready_time=self._ready_time,
            update_time=self._clock.now(),
        )

    def job_activity(self, job_id: str) -> tuple[int, int]:
        """Return how many rows of a job are in flight, and how many wait to be sent again."""
        in_flight = sum(queued.work.in_flight for queued in self._pump.works if queued.work.job_id == job_id)
        return in_flight, self._pump.queue.retrying(job_id)

    # --- life --------------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Run until closed or cancelled; rows in flight then go back to their chunks, and the chunks are given back."""
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [
                    group.create_task(self._pump.pool.run()),
                    group.create_task(self._sweep()),
                    group.create_task(self._nurse()),
                ]
                await self._stopped.wait()
                for task in tasks:
                    task.cancel()
        finally:
            self._draining = True
            self._pump.sending = False
            self._pump.abandon()
            self._pump.withdraw(lambda _: True)

    async def close(self, grace_s: float) -> None:
        """Drain, wait for the rows in flight as long as the grace lasts, give everything back, and end `run`."""
        self.drain()
        if self._pump.in_flight:
            self._empty.clear()
            try:
                async with asyncio.timeout(grace_s):
                    await self._empty.wait()
            except TimeoutError:
                self._log.info("rows_abandoned", server=self.server_id, rows=self._pump.in_flight)
        self._pump.abandon()
        self._stopped.set()

    async def _sweep(self) -> None:
        while True:
            if not self._pump.in_flight and not self._pump.queue.size:
                self._busy.clear()
                self._empty.set()
                await self._busy.wait()
                self._watchdog.rest(self._clock.monotonic())
            await self._clock.sleep(self._settings.sweep_s)
            self.sweep()

    def sweep(self) -> None:
        """Do what is due; `run` calls it some 20 times a second while there are rows."""
        now = self._clock.monotonic()
        self._pump.sweep(now)
        self._set_low_water()
        if not self._pump.in_flight:
            self._empty.set()
        if self.wants_work:
            self._on_idle()
        if not self._condition.ready and now - self._condition.since > self._settings.hold_s:
            self._pump.withdraw(lambda _: True)
        if now >= self._next_check:
            self._next_check = now + max(CHECK_S, self._settings.sweep_s)
            self._end_overdue_rows(now)
            self._look_for_stall(now)

    # --- inside ------------------------------------------------------------------------------------------------------

    @property
    def _state(self) -> ServerState:
        return ServerState.DRAINING if self._draining else self._condition.state

    def _set_low_water(self) -> None:
        self._pump.low_water = self.look_ahead_rows // 2

    def _ask_for_work(self) -> None:
        if self.wants_work:
            self._on_idle()

    def _sick(self, reason: str) -> None:
        if self._condition.sick(self._clock.monotonic(), reason):
            self._log.warning("server_suspect", server=self.server_id, reason=reason)
        self._pump.sending = False
        self._trouble.set()

    def _gone(self, reason: str) -> None:
        if self._condition.unreachable(self._clock.monotonic(), reason):
            self._log.warning("server_unreachable", server=self.server_id, reason=reason)
        self._pump.sending = False
        self._pump.queue.cool()
        self._trouble.set()

    def _end_overdue_rows(self, now: float) -> None:
        settings = self._settings
        overdue = []
        for connection in self._pump.pool.connections:
            flight = connection.exchange
            if flight is None:
                continue
            limit_s = settings.row_timeout_s + settings.row_timeout_per_token_s * flight.max_tokens
            if now - connection.sent_at > (settings.canary_timeout_s if flight.canary else limit_s):
                overdue.append(connection)
        self._pump.give_up_connections(overdue, WireFault.TIMED_OUT, "")

    def _look_for_stall(self, now: float) -> None:
        pump = self._pump
        if pump.last_answer > self._watchdog.last_answer:
            self._condition.proved()
            self._watchdog.answered(pump.last_answer)
        if not pump.in_flight or self._stalled or not self._condition.ready:
            self._watchdog.rest(now)
        elif self._watchdog.stalled(now, pump.rate.latency_s):
            self._stalled = True
            self._trouble.set()

    async def _nurse(self) -> None:
        """Ask a server that is in trouble how it is until it is well."""
        while True:
            await self._trouble.wait()
            self._trouble.clear()
            if self._stalled and self._condition.ready:
                await self._break_stall()
            self._stalled = False
            while not self._condition.ready:
                await self._clock.sleep(self._condition.next_probe_s())
                await self._ask()

    async def _ask(self) -> None:
        try:
            limits = await self._probe.read_limits()
        except ServerUnreachableError as error:
            self._gone(error.detail)
            return
        if self._condition.state is ServerState.SUSPECT and not (await self._probe.health()).well:
            return
        self._log.info("server_recovered", server=self.server_id)
        same_process = self._condition.state is ServerState.SUSPECT
        self._condition.recovered()
        self.limits = limits = _with_model(limits, self.slot)
        self._ready_time = self._clock.now()
        if not self._draining:
            self._pump.start_over(limits, 1 if same_process else None, trusted=not same_process)
            self._busy.set()
            self._ask_for_work()

    async def _break_stall(self) -> None:
        """Rows are in flight and none has been answered for long: find out why, and get the server going again."""
        pump = self._pump
        warming = pump.queue.warming
        if warming and not await self._loads_nothing():
            return
        health = await self._probe.health()
        running = await self._probe.rows_running() if health.well else None
        if not pump.in_flight or pump.queue.warming is not warming:
            return
        if not health.well:
            self._log.warning("server_silent", server=self.server_id, rows=pump.in_flight)
            self._gone("it stopped answering") if health is Health.SILENT else self._sick("/health says it is not well")
            pump.abandon()
        elif not running:
            waiting = sorted(
                (connection for connection in pump.pool.connections if connection.exchange is not None),
                key=lambda connection: connection.sent_at,
            )
            # The row that blocks the others is one of the oldest, mostly; if not, only an empty server will go on.
            oldest = waiting[: max(1, len(waiting) // 4)] if self._watchdog.stalls < 2 else waiting
            self._log.warning("server_stalled", server=self.server_id, rows=len(waiting), resent=len(oldest))
            pump.give_up_connections(oldest, WireFault.STALLED, "")

    async def _loads_nothing(self) -> bool:
        """Tell whether an adapter that a row waits for is not being loaded after all.

        A shard that loads answers nothing else meanwhile: one that is well several times over is free. A router that
        does not even tell its limits is no longer there.
        """
        for _ in range(SIGNS_OF_LIFE):
            health = await self._probe.health()
            if health is Health.SILENT:
                try:
                    await self._probe.read_limits()
                except ServerUnreachableError:
                    return True
            if health is not Health.WELL:
                return False
            await self._clock.sleep(BETWEEN_SIGNS_S)
        return True


def _with_model(limits: ServerLimits, slot: Slot) -> ServerLimits:
    """A server that does not tell its model has the one that the slot declares."""
    return limits if limits.model_id else replace(limits, model_id=slot.declared_model or "")
