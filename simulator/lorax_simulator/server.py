"""The simulated server: takes what endpoints wish for, checks it in the router's order, and answers when it is done."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from lorax_simulator import errors
from lorax_simulator.connection import Connection, Headers, Request
from lorax_simulator.driver import Driver
from lorax_simulator.engine import Engine
from lorax_simulator.errors import PlainTextError, RouterError
from lorax_simulator.exchange import Exchange, send_error
from lorax_simulator.faults import Faults
from lorax_simulator.generation import Generated, Reply, Sequence, Wish
from lorax_simulator.hub import AdapterHub
from lorax_simulator.journal import Call, Journal
from lorax_simulator.limits import Limits, ServerIdentity
from lorax_simulator.metrics import Metrics
from lorax_simulator.node_cache import NodeCache
from lorax_simulator.observations import count_failure, observe_lengths, observe_success
from lorax_simulator.outcomes import Aborted, Failed, Finished, HealthChecked, Outcome, TokenMade
from lorax_simulator.permits import Permits
from lorax_simulator.row_faults import RowFaults
from lorax_simulator.rubbish import RUBBISH
from lorax_simulator.sequences import SequenceMaker
from lorax_simulator.shard_errors import unsupported_task
from lorax_simulator.templates import Template
from lorax_simulator.timing import Timing
from lorax_simulator.timing_headers import timing_headers
from lorax_simulator.validation import validate


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerOptions:
    """What a simulated server is; `scale` is real seconds a model second."""

    identity: ServerIdentity
    limits: Limits
    timing: Timing
    template: Template
    scale: float
    seed: int = 0
    cache: NodeCache = field(default_factory=NodeCache)


@dataclass(slots=True)
class Totals:
    """What the counters of past lives added up to; a restart does not reset these."""

    restarts: int = 0
    downloads: int = 0
    loads: int = 0
    offloads: int = 0
    hung_up_while_loading: int = 0


class Server:
    """Everything behind the routes. `revive` begins a life; `on_abort` is called when one ends by an abort."""

    def __init__(
        self,
        options: ServerOptions,
        *,
        faults: Faults,
        journal: Journal,
        loop: asyncio.AbstractEventLoop,
        on_abort: Callable[[], None],
    ) -> None:
        self.options = options
        self.faults = faults
        self.journal = journal
        self.connections: set[Connection] = set()
        self.totals = Totals()
        self._loop = loop
        self._on_abort = on_abort
        self._maker = SequenceMaker(identity=options.identity, faults=faults, seed=options.seed)
        self._hub = AdapterHub(
            model_id=options.identity.model_id,
            timing=options.timing,
            faults=faults,
            seed=options.seed,
            cache=options.cache,
            load_log=journal.load_log,
        )
        self._row_faults = RowFaults(faults)
        self._body_before = b""
        self._checks: dict[int, Callable[[bool], None]] = {}
        self._next_ticket = 0
        self._exchanges: dict[int, tuple[Exchange, Sequence]] = {}
        self.revive()

    # Lives

    def revive(self) -> None:
        """Begin a new life: nothing queued, adapters cold, counters at 0."""
        limits = self.options.limits
        self.metrics = Metrics(max_input_length=limits.max_input_length, max_total_tokens=limits.max_total_tokens)
        self.permits = Permits(limits.max_concurrent_requests, self.faults)
        self._exchanges.clear()
        self._checks.clear()
        self.engine = Engine(
            limits=limits, timing=self.options.timing, hub=self._hub, faults=self.faults, metrics=self.metrics
        )
        self.driver = Driver(engine=self.engine, scale=self.options.scale, loop=self._loop, deliver=self._on_outcome)

    def abort(self) -> None:
        """Die as the router does: every connection is reset."""
        self.driver.stop()
        self.totals.restarts += 1
        self.totals.downloads += self.engine.loaded.downloads
        self.totals.loads += self.engine.loaded.loads
        self.totals.offloads += self.engine.loaded.offloads
        self.totals.hung_up_while_loading += self.engine.hung_up_while_loading
        self.faults.switch_off("cuda-assert")
        for exchange in {id(exchange): exchange for exchange, _ in self._exchanges.values()}.values():
            self._note(exchange, 0)
        self._exchanges.clear()
        self.reset_connections()
        self._on_abort()

    def reset_connections(self) -> None:
        """Drop every connection, whatever it waits for."""
        for connection in list(self.connections):
            connection.on_drop = None
            connection.reset()

    # What endpoints ask for

    def generate(self, request: Request, connection: Connection, prepare: Callable[[], tuple[Wish, Reply]]) -> None:
        """Check and queue what `prepare` makes of the request; every way out answers the connection."""
        key = self.journal.receive(request.body)
        row_faults = self.faults.of_row(request.body)
        try:
            if row_faults:
                self._row_faults.check(request.body, row_faults)
            wish, reply = prepare()
        except (RouterError, PlainTextError) as error:
            count_failure(self.metrics, error)
            self.journal.answer(Call(key=key, path=request.path, adapter="", status=error.status))
            send_error(connection, error)
            return
        exchange = Exchange(
            connection=connection,
            request=request,
            wish=wish,
            reply=reply,
            key=key,
            arrived_at=self.driver.now(),
            row_faults=row_faults,
        )
        try:
            self._start(exchange)
        except RouterError as error:
            self._fail(exchange, error)

    def probe(self, request: Request, connection: Connection, wish: Wish, reply: Reply) -> None:
        """Generate without journal and faults; without a permit it is 500, with an answer an empty 200."""
        exchange = Exchange(
            connection=connection,
            request=request,
            wish=wish,
            reply=reply,
            arrived_at=self.driver.now(),
            is_probe=True,
        )
        try:
            self._start(exchange)
        except RouterError as error:
            refused = errors.health_overloaded() if error.status == 429 else error
            self._fail(exchange, refused)

    def check_health(self, done: Callable[[bool], None]) -> None:
        """Ask the shard for a sign of life and call back with the verdict."""
        late = self.faults.number("slow-health") if self.faults.fire("slow-health") else None
        if late:
            told = done

            def done(healthy: bool) -> None:
                self._loop.call_later(late * self.options.scale, told, healthy)

        self._next_ticket += 1
        self._checks[self._next_ticket] = done
        self.driver.check_health(self._next_ticket)

    # The way of one generation

    def _start(self, exchange: Exchange) -> None:
        wish = exchange.wish
        if "reset" in exchange.row_faults and self.faults.fire("reset"):
            self._note(exchange, 0)
            exchange.connection.reset()
            return
        wanted = max(1, wish.parameters.best_of or 1)
        if not self.permits.take(min(wanted, self.options.limits.max_best_of)):
            raise errors.overloaded()
        exchange.permits = min(wanted, self.options.limits.max_best_of)
        self.metrics.count("lorax_request_count")
        lengths = validate(wish.prompt, wish.parameters, self.options.limits)
        if not (wish.embeds or self.options.identity.generates):
            raise errors.generation_failed(unsupported_task("text generation"))
        observe_lengths(self.metrics, lengths)
        exchange.connection.on_drop = lambda: self._drop(exchange)
        made = self._maker.make(wish, lengths, arrived_at=exchange.arrived_at, row_faults=exchange.row_faults)
        exchange.sequences = list(made)
        if "hang" in exchange.row_faults and self.faults.fire("hang"):
            return
        for sequence in exchange.sequences:
            self._exchanges[sequence.row.id] = (exchange, sequence)
            self.driver.submit(sequence.row)

    def _on_outcome(self, outcome: Outcome) -> None:
        match outcome:
            case Finished(row):
                exchange, sequence = self._exchanges.pop(row.id, (None, None))
                if exchange is not None and sequence is not None:
                    sequence.is_done = True
                    if exchange.is_done:
                        self._finish(exchange)
            case Failed(row, text):
                failed, _ = self._exchanges.pop(row.id, (None, None))
                if failed is not None:
                    self._forget(failed)
                    self._fail(failed, errors.generation_failed(text))
            case TokenMade(row, index):
                streaming = self._exchanges.get(row.id)
                if streaming is not None:
                    streaming[0].send_token(streaming[1], index)
            case HealthChecked(ticket, healthy):
                self._checks.pop(ticket)(healthy)
            case Aborted():
                self.abort()

    def _finish(self, exchange: Exchange) -> None:
        self._give_permits_back(exchange)
        finished = max((sequence.row for sequence in exchange.sequences), key=lambda row: row.finished_at)
        best = exchange.sequences[0].generated
        body = b""
        if not exchange.wish.streams:
            try:
                body = exchange.whole(self.faults.keys("missing-keys"))
            except RouterError as error:
                self._fail(exchange, error)
                return
        rubbish = next((name for name in RUBBISH if name in exchange.row_faults), None)
        if rubbish is not None and self.faults.fire(rubbish):
            self._note(exchange, 200 if RUBBISH[rubbish].right else 0, best)
            exchange.send_rubbish(RUBBISH[rubbish], body, self._body_before)
            return
        self._body_before = body
        observe_success(self.metrics, finished, best, scale=self.options.scale)
        self._note(exchange, 200, best)
        if exchange.wish.streams:
            exchange.send_last_token()
            return
        headers: Headers = ()
        if exchange.reply.timing_headers:
            model_id = self.options.identity.model_id
            headers = timing_headers(finished, best, exchange.wish, model_id=model_id, scale=self.options.scale)
        exchange.send_whole(body, headers)

    def _fail(self, exchange: Exchange, error: RouterError) -> None:
        self._give_permits_back(exchange)
        count_failure(self.metrics, error)
        self._note(exchange, error.status)
        exchange.send_error(error)

    def _drop(self, exchange: Exchange) -> None:
        self._forget(exchange)
        self._give_permits_back(exchange)
        self.metrics.count("lorax_request_failure", err="dropped")
        self._note(exchange, 0)

    def _forget(self, exchange: Exchange) -> None:
        for sequence in exchange.sequences:
            if self._exchanges.pop(sequence.row.id, None) is not None:
                self.driver.drop(sequence.row)

    def _give_permits_back(self, exchange: Exchange) -> None:
        self.permits.give(exchange.permits)
        exchange.permits = 0

    def _note(self, exchange: Exchange, status: int, generated: Generated | None = None) -> None:
        if not exchange.is_probe:
            self.journal.answer(exchange.call(status, generated))
