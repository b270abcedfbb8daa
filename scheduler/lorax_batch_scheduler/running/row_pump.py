"""The hot path: takes rows, sends them, turns answers into results. One callback a row, nothing awaited.

A row is always in exactly one place: in its chunk's `waiting`, held for a retry by the queue, in flight on a
connection, or done. Everything unusual (retries, time limits, pauses) is left to a sweep, some 20 times a second.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass

from lorax_batch_scheduler.chunk import GENERATE
from lorax_batch_scheduler.clock import Clock
from lorax_batch_scheduler.fleet import ServerLimits
from lorax_batch_scheduler.lorax_servers import Connection, ConnectionPool, ServerAddress, WireFault
from lorax_batch_scheduler.lorax_servers.response_head import header, number_header, retry_after_s
from lorax_batch_scheduler.running.bad_answer import LOST, BadAnswer, describe_fault, read_bad_answer
from lorax_batch_scheduler.running.in_flight_limit import InFlightLimit
from lorax_batch_scheduler.running.queued_work import Flight, QueuedWork
from lorax_batch_scheduler.running.result_line import success_line
from lorax_batch_scheduler.running.retry import Action, Decision, Signal
from lorax_batch_scheduler.running.row_failures import RowFailures
from lorax_batch_scheduler.running.row_judge import RowJudge
from lorax_batch_scheduler.running.row_queue import RowQueue
from lorax_batch_scheduler.running.row_request import DOES_NOT_FIT, RowRequest
from lorax_batch_scheduler.running.run_rate import RunRate
from lorax_batch_scheduler.tls.client_tls import ClientTls
from lorax_batch_scheduler.work import ChunkWork, ResultSink, RowOutcome

SAMPLE_MASK = 15
"""One answer in 16 is asked for its times."""
MAX_PAUSE_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PumpEvents:
    """Whom the pump tells; all are called synchronously."""

    on_returned: Callable[[ChunkWork], None]
    on_low: Callable[[], None]
    """Few rows are left to send."""
    on_sick: Callable[[str], None]
    on_gone: Callable[[str], None]
    """No connection is left, and none can be made."""
    on_retry: Callable[[str], None] = lambda code: None
    """A row is to be sent again; the code of the error that it would have."""
    on_timed: Callable[[ChunkWork, int, float], None] = lambda work, row, seconds: None
    """A row of a traced chunk was answered after so long; told of those whose times are asked for."""


class RowPump:
    """Sends the rows of a queue to one server, as many at a time as the limit allows."""

    def __init__(
        self,
        *,
        server_id: str,
        address: ServerAddress,
        limits: ServerLimits,
        limit: InFlightLimit,
        sink: ResultSink,
        clock: Clock,
        chance: random.Random,
        events: PumpEvents,
        tls: ClientTls | None = None,
    ) -> None:
        self._address = address
        self._limits = limits
        self._sink = sink
        self._clock = clock
        self._monotonic = clock.monotonic
        self._events = events
        self._failures = RowFailures(sink)
        self._paused_until = 0.0
        self._crowd = 0
        """Rows in flight at the last sweep, before any failed."""
        self._trusted = True
        self._answered_before = 0
        self._count = 0
        self._told_low = False
        self.limit = limit
        self.queue = RowQueue(schemas_alone=limits.is_lorax)
        self._judgement = RowJudge(
            server_id=server_id,
            queue=self.queue,
            failures=self._failures,
            chance=chance,
            let_go=self._let_go,
            on_retry=events.on_retry,
        )
        self.rate = RunRate(clock.monotonic())
        self.pool = ConnectionPool(
            address,
            clock=clock,
            chance=chance,
            on_answer=self._answered,
            on_lost=self._lost,
            on_available=self.pump,
            on_refused=self._refused,
            tls=tls,
        )
        self.sending = True
        """Whether rows may be sent at all."""
        self.in_flight = 0
        self.tokens_in_flight = 0
        """Reserved by the rows in flight."""
        self.last_answer = 0.0
        self.low_water = 0
        """`on_low` is called once when fewer rows are left to send."""
        self._withdrawn: set[QueuedWork] = set()

    @property
    def works(self) -> list[QueuedWork]:
        """All chunks that have rows here."""
        return [*self.queue.works, *self._withdrawn]

    def accept(self, work: ChunkWork) -> None:
        """Take a chunk in; rows go out as connections are free."""
        now = self._monotonic()
        self._told_low = False
        for trouble in work.trouble.values():
            trouble.elsewhere = False  # whoever gives the chunk has thought about where it goes
        queued = QueuedWork(work, self.queue.adapter(work.adapter), RowRequest(work, self._address, self._limits))
        self.queue.add(queued)
        for row in [row for row in work.trouble if work.trouble[row].company and row in work.waiting]:
            work.waiting.remove(row)
            self.queue.size -= 1
            self.queue.retry(queued, row, now)
        self._judgement.enforce(work.adapter, now)
        self.pump()

    def pump(self) -> None:
        """Send what may be sent."""
        now = self._monotonic()
        idle = self.pool.idle
        while self._may_send(now):
            if not idle:
                self.pool.want(min(self.limit.rows, self.in_flight + self.queue.size))
                return
            flight = self._next_flight(now)
            if flight is None:
                return
            self._send(idle.pop(), flight, now)

    def withdraw(self, matches: Callable[[QueuedWork], bool]) -> None:
        """Send no more rows of some chunks, and give each back as soon as nothing of it is in flight."""
        for queued in self.queue.withdraw(matches):
            self._let_go(queued)

    def start_over(self, limits: ServerLimits, first_rows: int | None, *, trusted: bool) -> None:
        """Go on with a server that is another process now, or was in trouble: nothing is warm, few rows at first.

        One that is not trusted is to blame if the next rows fail, until it has answered one.
        """
        self._trusted, self._answered_before = trusted, self.limit.answered
        self._limits = limits
        self.limit.limits = limits
        self.limit.restart(first_rows)
        self._judgement.forget()
        self.queue.cool()
        self.queue.unproved = not trusted
        self.queue.schemas_alone = limits.is_lorax
        self._paused_until = 0.0
        for queued in self.queue.works:
            queued.request = RowRequest(queued.work, self._address, limits)
        self.sending = True
        self.pump()

    def give_up_connections(self, connections: list[Connection], fault: WireFault, detail: str) -> None:
        """Close connections; their rows are judged as after that fault."""
        for connection in connections:
            self.pool.discard(connection)
            if connection.exchange is not None:
                self._lose(connection, fault, detail)

    def abandon(self) -> None:
        """Close all connections; rows in flight go back to their chunks as if they had never been sent."""
        now = self._monotonic()
        for connection in self.pool.connections:
            flight = connection.exchange
            connection.exchange = None
            self.pool.discard(connection)
            if flight is not None:
                self._end(flight)
                self._judgement.put_back(flight, now)
                self._settle(flight.queued)
        self.pool.idle.clear()

    def sweep(self, now: float) -> None:
        """Let go retries that are due, follow the server with the limit, and send."""
        self.limit.adjust(now, self.in_flight, self.tokens_in_flight)
        self.queue.warm_ahead = self.limit.target_rows
        self.queue.release_due(now)
        self.rate.update(now)
        self.pump()
        self.limit.sent(now, self.in_flight)
        self._crowd = self.in_flight

    # --- the way of a row ----------------------------------------------------------------------------------------

    def _may_send(self, now: float) -> bool:
        limit = self.limit
        return (
            self.in_flight < limit.rows
            and self.tokens_in_flight < limit.tokens
            and self.sending
            and now >= self._paused_until
            and now < self._sink.send_until
            and not self._sink.congested
        )

    def _next_flight(self, now: float) -> Flight | None:
        while True:
            flight = self.queue.take(now, self.in_flight)
            if flight is None:
                return None
            queued, row = flight.queued, flight.row
            max_tokens = queued.request.max_tokens[row]
            if queued.work.trouble:
                trouble = queued.work.trouble.get(row)
                if trouble is not None and trouble.max_tokens:
                    max_tokens = trouble.max_tokens
            if max_tokens != DOES_NOT_FIT:
                flight.max_tokens = max_tokens
                flight.reservation = queued.request.prompt_tokens[row] + max_tokens
                return flight
            self.queue.ended(flight)
            self._failures.add_too_long(queued, row, self._limits)
            self._settle(queued)

    def _send(self, connection: Connection, flight: Flight, now: float) -> None:
        connection.exchange = flight
        connection.sent_at = now
        flight.queued.work.in_flight += 1
        self.in_flight += 1
        self.tokens_in_flight += flight.reservation
        connection.send(flight.queued.request.build(flight.row, flight.max_tokens))
        if self.queue.size < self.low_water and not self._told_low:
            self._told_low = True
            self._events.on_low()

    def _answered(self, connection: Connection, status: int, body: bytes) -> None:
        flight: Flight = connection.exchange
        connection.exchange = None
        now = self._monotonic()
        queued = flight.queued
        tokens = queued.read(body) if status == 200 else None
        if tokens is None:
            self._end(flight)
            self._refused_row(connection, flight, status, body, now)
            self.pool.release(connection)
            self.pump()
            return
        prompt_tokens, completion_tokens = tokens
        work, row = queued.work, flight.row
        chunk = work.chunk
        self._count += 1
        if self._count & SAMPLE_MASK == 0:
            self._sample(connection, flight, now)
        request_id = b""
        if not self._limits.is_lorax:
            request_id = header(connection.raw, b"x-request-id") or b""
        if chunk.endpoint == GENERATE and not completion_tokens:
            prompt_tokens = int(number_header(connection.raw, b"x-prompt-tokens") or 0)
            completion_tokens = int(number_header(connection.raw, b"x-generated-tokens") or 0)
        line = chunk.lines[row]
        self._sink.add(
            work.lease,
            row,
            line,
            success_line(queued.job_id, line, chunk.custom_ids[row], body, request_id),
            RowOutcome.SUCCEEDED,
            prompt_tokens,
            completion_tokens,
        )
        self.last_answer = now
        self.limit.completed(completion_tokens)
        rate = self.rate
        rate.rows += 1
        rate.tokens += completion_tokens
        self._end(flight)
        self.queue.succeeded(flight)
        if not queued.rows or work.withdrawn:
            self._settle(queued)
        if connection.reusable and self._may_send(now):
            following = self._next_flight(now)
            if following is not None:
                self._send(connection, following, now)
                return
        self.pool.release(connection)

    def _end(self, flight: Flight) -> None:
        flight.queued.work.in_flight -= 1
        self.in_flight -= 1
        self.tokens_in_flight -= flight.reservation
        self.queue.ended(flight)

    def _settle(self, queued: QueuedWork) -> None:
        """Let a chunk go of which nothing is left to do here."""
        if queued.work.withdrawn:
            if not queued.work.in_flight and queued in self._withdrawn:
                self._withdrawn.discard(queued)
                self._give_back(queued)
        elif queued.settled:
            self.queue.done(queued)
            self._give_back(queued)

    def _let_go(self, queued: QueuedWork) -> None:
        queued.work.withdrawn = True
        if queued.work.in_flight:
            self._withdrawn.add(queued)
        else:
            self._give_back(queued)

    def _give_back(self, queued: QueuedWork) -> None:
        queued.rows.extend(queued.elsewhere)
        queued.elsewhere.clear()
        if queued.rows:
            self._events.on_returned(queued.work)

    def _sample(self, connection: Connection, flight: Flight, now: float) -> None:
        if flight.queued.work.traceparent:
            self._events.on_timed(flight.queued.work, flight.row, now - connection.sent_at)
        self.rate.answered_after(now - connection.sent_at)
        queue_ms = number_header(connection.raw, b"x-queue-time")
        total_ms = number_header(connection.raw, b"x-total-time")
        if queue_ms is not None and total_ms is not None:
            self.limit.queued(queue_ms, total_ms)

    # --- when it is no result ------------------------------------------------------------------------------------

    def _refused_row(self, connection: Connection, flight: Flight, status: int, body: bytes, now: float) -> None:
        raw = connection.raw
        wait_s = retry_after_s(raw, self._clock.now().timestamp()) if status >= 400 else None
        answer = read_bad_answer(status, header(raw, b"content-type"), body, wait_s)
        if status < 500 and status != 429:
            self.last_answer = now
        self._judge(flight, answer, body, now, connection.sent_at)

    def _lost(self, connection: Connection, fault: WireFault, detail: str) -> None:
        self._lose(connection, fault, detail)
        if fault in LOST and not self.pool.open_count:
            self._events.on_gone(detail)

    def _lose(self, connection: Connection, fault: WireFault, detail: str) -> None:
        flight: Flight = connection.exchange
        connection.exchange = None
        self._end(flight)
        answer = BadAnswer(fault=fault, message=describe_fault(fault, detail))
        self._judge(flight, answer, b"", self._monotonic(), connection.sent_at)

    def _refused(self, detail: str) -> None:
        if not self.pool.open_count:
            self._events.on_gone(detail)

    def _judge(self, flight: Flight, answer: BadAnswer, body: bytes, now: float, sent_at: float) -> None:
        crowd = max(self._crowd, self.in_flight + 1)
        trusted = self._trusted or self.limit.answered > self._answered_before
        decision = self._judgement.judge(flight, answer, body, now, crowd=crowd, trusted=trusted)
        self._heed(decision, answer, flight, now, sent_at)
        self._settle(flight.queued)

    def _heed(self, decision: Decision, answer: BadAnswer, flight: Flight, now: float, sent_at: float) -> None:
        signal = decision.signal
        if signal is Signal.OVERLOADED:
            self.limit.overloaded(now, sent_at, self.in_flight)
            if answer.retry_after_s:
                self._paused_until = now + min(answer.retry_after_s, MAX_PAUSE_S)
        elif signal is Signal.OUT_OF_MEMORY and not flight.company:
            self.limit.out_of_memory(now, sent_at, self.tokens_in_flight + flight.reservation)
        elif signal is Signal.OUT_OF_MEMORY and decision.action is Action.FAIL_ROW:
            self.limit.memory_was_enough()
        elif signal is Signal.SICK:
            self._events.on_sick(decision.message)
