"""The continuous-batching loop as a synchronous state machine: the caller moves the clock, it never waits."""

import heapq

from lorax_simulator import shard_errors
from lorax_simulator.adapters import Adapter, AdapterPool, AdapterStatus
from lorax_simulator.admission import assemble
from lorax_simulator.blocks import BlockAllocator
from lorax_simulator.faults import Faults
from lorax_simulator.hub import AdapterHub
from lorax_simulator.limits import Limits
from lorax_simulator.loader import Loader, LoaderCounts
from lorax_simulator.metrics import Metrics
from lorax_simulator.outcomes import Aborted, Failed, Finished, HealthChecked, Outcome, TokenMade
from lorax_simulator.row import Row
from lorax_simulator.running import RunningBatch
from lorax_simulator.shard import Operation, Shard
from lorax_simulator.timing import Timing


class Engine:
    """One life of a server, from the bind of its port to its abort.

    Times are seconds of model time and never go back. Call `advance` before anything else at a new time; what
    happened meanwhile is taken with `take_outcomes`.
    """

    def __init__(
        self, *, limits: Limits, timing: Timing, hub: AdapterHub, faults: Faults, metrics: Metrics, now: float = 0.0
    ) -> None:
        self.now = now
        self.loaded = LoaderCounts()
        self.pool = AdapterPool(max_active=limits.max_active_adapters, cycle_time=limits.adapter_cycle_time_s)
        self.blocks = BlockAllocator(limits.max_batch_total_tokens)
        self.running = RunningBatch(self.blocks)
        self.since_prefill = 0
        self.aborted = False
        self._limits = limits
        self._timing = timing
        self._faults = faults
        self.hung_up_while_loading = 0
        """Rows whose connection closed while their adapter was not there yet."""
        self._metrics = metrics
        self._shard = Shard()
        self._loader = Loader(shard=self._shard, hub=hub, counts=self.loaded, on_change=self._on_adapter_change)
        self._outcomes: list[Outcome] = []
        self._step = 0
        self._finishing: list[tuple[int, int]] = []  # heap of (step, row id); may hold rows that are gone
        self._dropped: list[Row] = []
        self._streaming: dict[Row, int] = {}  # row -> the step at which it finishes
        self._answered = 0
        self._loop_is_busy = False
        self._last_batch_succeeded = False

    # What the outside asks for

    def submit(self, row: Row) -> None:
        """Queue a row for its adapter."""
        row.queued_at = self.now
        unknown = self.pool.append(row)
        if unknown is not None:
            self._loader.download(unknown, self.now)
        self._poke()

    def drop(self, row: Row) -> None:
        """Forget a row whose connection closed: a running one at the next step, a queued one when reached."""
        row.dropped = True
        if row in self.running:
            self._dropped.append(row)
            return
        adapter = self.pool.known.get(row.adapter_id)
        if adapter is not None and adapter.id and adapter.status is not AdapterStatus.READY:
            self.hung_up_while_loading += 1
        if "wedge" in self._faults:
            self._unwedge_when_all_hung_up()

    def nudge(self) -> None:
        """Look again for rows to admit, after a fault was switched off."""
        self._poke()

    def check_health(self, ticket: int) -> None:
        """Ask the shard for a sign of life; it waits behind whatever the shard is doing."""
        seconds = 0.0 if self._last_batch_succeeded else self._timing.prefill(1)
        self._shard.ask(Operation("health", seconds, lambda _: self._end_health(ticket)), self.now)

    def advance(self, now: float) -> None:
        """Let everything happen that is due by `now`."""
        while not self.aborted:
            operation = self._shard.current
            if operation is None or operation.ends_at > now:
                break
            self.now = operation.ends_at
            self._shard.finish_until(now)
        self.now = max(self.now, now)

    @property
    def has_outcomes(self) -> bool:
        """Whether something happened that was not taken yet."""
        return bool(self._outcomes)

    def take_outcomes(self) -> list[Outcome]:
        """Return what happened since the last call, in order."""
        outcomes, self._outcomes = self._outcomes, []
        return outcomes

    def next_wakeup(self) -> float | None:
        """Return the earliest time at which something can be seen from outside, or None when nothing is under way.

        Decode steps that only make tokens are leapt over; `advance` catches up on them.
        """
        operation = self._shard.current
        if operation is None or self.aborted:
            return None
        if operation.kind != "decode" or self._shard.waiting or self._streaming:
            return operation.ends_at
        steps = self._finishing[0][0] - self._step if self._finishing else 1
        if self.pool.waiting:
            if self.pool.waiting >= self._early_admission_size():
                steps = 1
            else:
                steps = min(steps, self._limits.max_waiting_tokens - self.since_prefill)
        return operation.ends_at + max(0, steps - 1) * operation.seconds

    # The batching loop

    def _poke(self) -> None:
        if not self._loop_is_busy:
            self._next_step()

    def _next_step(self) -> None:
        if self.aborted:
            return
        self._loop_is_busy = True
        min_size: int | None = None
        if self.running and self.since_prefill < self._limits.max_waiting_tokens:
            min_size = self._early_admission_size()
        batch = self._admit(min_size)
        if batch:
            if self.running:
                self._metrics.count(
                    "lorax_batch_concat", reason="wait_exceeded" if min_size is None else "backpressure"
                )
            self._start_prefill(batch)
        elif self.running:
            self._start_decode()
        else:
            self._loop_is_busy = False
            self._show_batch()

    def _early_admission_size(self) -> int:
        return int(self._limits.waiting_served_ratio * len(self.running))

    def _admit(self, min_size: int | None) -> list[Row]:
        waiting = self.pool.waiting
        if not waiting or (min_size is not None and waiting < min_size):
            return []
        if self._is_wedged():
            self._faults.fire("wedge")
            return []
        moves = self.pool.update(self.now, self.running.adapters)
        for adapter in moves.errored:
            self._fail_adapter(adapter)
        for adapter in moves.offload:
            self._loader.offload(adapter, self.now)
        for adapter in moves.load:
            self._loader.load(adapter, self.now)
        batch = assemble(
            self.pool,
            self.blocks,
            now=self.now,
            prefill_budget=self._limits.max_batch_prefill_tokens,
            token_budget=self._limits.max_batch_total_tokens - self.running.reserved_tokens,
            min_size=min_size,
            leaks=lambda: self._faults.fire("leaky-blocks"),
        )
        self._metrics.set("lorax_queue_length", self.pool.waiting)
        return batch

    def _start_prefill(self, batch: list[Row]) -> None:
        self._metrics.observe("lorax_batch_next_size", len(batch))
        was_decoding = bool(self.running)
        for row in batch:
            row.joined_at = self.now
            self.running.join(row)
        seconds = self._timing.prefill(sum(row.prompt_tokens for row in batch))
        self._count_inference("prefill", seconds)
        self._shard.ask(Operation("prefill", seconds, lambda _: self._end_prefill(batch, was_decoding)), self.now)

    def _end_prefill(self, batch: list[Row], was_decoding: bool) -> None:
        error = self._prefill_error(batch)
        if error is not None:
            self._fail_batch(error, method="prefill")
            if was_decoding and self._faults.fire("prefill-abort"):
                self._abort("a prefill failed beside a decoding batch")
            self._next_step()
            return
        self._succeed("prefill")
        self.since_prefill = 1
        for row in batch:
            row.first_token_at = self.now
            finish_step = self._step + row.target_tokens - 1
            if row.streams:
                self._streaming[row] = finish_step
            heapq.heappush(self._finishing, (finish_step, row.id))
        self._end_step(batch)
        following = self._admit(None) if self._limits.eager_prefill and not self.aborted else []
        if following:
            self._metrics.count("lorax_batch_concat", reason="wait_exceeded")
            self._start_prefill(following)
        elif self.running:
            self._start_decode()
        else:
            self._next_step()

    def _start_decode(self) -> None:
        seconds = self._timing.decode(len(self.running), with_adapters=self.running.has_adapters)
        self._count_inference("decode", seconds)
        self._shard.ask(Operation("decode", seconds, self._end_decode), self.now)

    def _end_decode(self, _: float) -> None:
        self._step += 1
        self.since_prefill += 1
        self._succeed("decode")
        self._end_step(list(self._streaming))
        self._next_step()

    def _end_step(self, made_tokens: list[Row]) -> None:
        for row in self._dropped:
            self.running.leave(row)
            self._streaming.pop(row, None)
        self._dropped.clear()
        while self._finishing and self._finishing[0][0] <= self._step:
            finished = self.running.rows.get(heapq.heappop(self._finishing)[1])
            if finished is not None:
                self._finish(finished)
        for row in made_tokens:
            finish_step = self._streaming.get(row)
            if finish_step is not None:
                self._outcomes.append(TokenMade(row, row.target_tokens - 1 - (finish_step - self._step)))
        self._show_batch()

    def _finish(self, row: Row) -> None:
        self.running.leave(row)
        self._streaming.pop(row, None)
        row.finished_at = self.now
        self._outcomes.append(Finished(row))
        self._answered += 1
        for fault in ("router-abort", "shard-crash"):
            after = self._faults.number(fault)
            if after is not None and self._answered >= max(1, after) and self._faults.fire(fault):
                if fault == "shard-crash":
                    self._fail_batch(shard_errors.transport(), method="decode")
                self._abort(f"fault {fault}")
                return

    # What goes wrong

    def _prefill_error(self, batch: list[Row]) -> str | None:
        if self._faults.fire("cuda-assert"):
            return shard_errors.device_assert()
        for row in batch:
            if row.prefill_error is not None:
                self._faults.fire(row.fault)
                return row.prefill_error
        most = self._faults.number("oom")
        if most is not None and len(self.running) > most and self._faults.fire("oom"):
            return shard_errors.out_of_memory()
        return shard_errors.unexplained() if self._faults.spend("batch-failure") else None

    def _fail_batch(self, text: str, *, method: str) -> None:
        self._last_batch_succeeded = False
        self._metrics.count("lorax_batch_inference_failure", method=method)
        for row in list(self.running.rows.values()):
            self.running.leave(row)
            if not row.dropped:
                self._outcomes.append(Failed(row, text))
        self._dropped.clear()
        self._streaming.clear()
        self._finishing.clear()

    def _fail_adapter(self, adapter: Adapter) -> None:
        rows = self.pool.drain(adapter)
        for row in rows:
            self.blocks.release(row.blocks)
            row.blocks = 0
            if not row.dropped:
                self._outcomes.append(Failed(row, adapter.error or ""))
            elif self._faults.fire("disconnect-abort"):
                self._abort("a row of a failing adapter had hung up")

    def _on_adapter_change(self, adapter: Adapter) -> None:
        if adapter.status is AdapterStatus.ERRORED:
            self._metrics.count("lorax_request_failure", err="download_adapter")
        self._poke()

    def _abort(self, reason: str) -> None:
        if not self.aborted:
            self.aborted = True
            self._outcomes.append(Aborted(reason))

    def _is_wedged(self) -> bool:
        after = self._faults.number("wedge")
        return "wedge" in self._faults and (after is None or self._answered >= after)

    def _unwedge_when_all_hung_up(self) -> None:
        counted = self._faults.number("wedge") is not None
        rows = (row for adapter in self.pool.known.values() for row in adapter.queue)
        if counted and self._is_wedged() and all(row.dropped for row in rows):
            self._faults.switch_off("wedge")

    def _end_health(self, ticket: int) -> None:
        healthy = "cuda-assert" not in self._faults
        self._last_batch_succeeded = self._last_batch_succeeded or healthy
        self._outcomes.append(HealthChecked(ticket, healthy))

    # What is counted

    def _count_inference(self, method: str, seconds: float) -> None:
        self._metrics.count("lorax_batch_inference_count", method=method)
        self._metrics.observe("lorax_batch_inference_duration", seconds, method=method)

    def _succeed(self, method: str) -> None:
        self._last_batch_succeeded = True
        self._metrics.count("lorax_batch_inference_success", method=method)

    def _show_batch(self) -> None:
        self._metrics.set("lorax_batch_current_size", len(self.running))
        self._metrics.set("lorax_batch_current_max_tokens", self.running.reserved_tokens)
