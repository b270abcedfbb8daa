"""Does what `retry` decides: fails a row, keeps it for another try, or gives up on its adapter."""

import random
from collections.abc import Callable
from dataclasses import replace

from lorax_batch_scheduler.running.adapter_verdicts import AdapterVerdict, AdapterVerdicts
from lorax_batch_scheduler.running.bad_answer import BadAnswer
from lorax_batch_scheduler.running.queued_work import Flight, QueuedWork
from lorax_batch_scheduler.running.retry import MAX_ATTEMPTS, Action, Decision, RowFacts, decide
from lorax_batch_scheduler.running.row_failures import RowFailures
from lorax_batch_scheduler.running.row_queue import RowQueue
from lorax_batch_scheduler.work import RowTrouble

MAX_FAILED_ALONE = 2
"""An adapter of which so many rows failed alone, and none was answered, is what is wrong with its other rows too."""


class RowJudge:
    """Judges the rows of one server that got no result."""

    def __init__(
        self,
        *,
        server_id: str,
        queue: RowQueue,
        failures: RowFailures,
        chance: random.Random,
        let_go: Callable[[QueuedWork], None],
        on_retry: Callable[[str], None],
    ) -> None:
        self._server_id = server_id
        self._queue = queue
        self._failures = failures
        self._chance = chance
        self._let_go = let_go
        """Gives a chunk back that was taken out of the queue."""
        self._on_retry = on_retry
        self._verdicts = AdapterVerdicts()

    def forget(self) -> None:
        """Begin anew: the server is another process now."""
        self._verdicts.forget()

    def judge(
        self, flight: Flight, answer: BadAnswer, body: bytes, now: float, *, crowd: int, trusted: bool
    ) -> Decision:
        """Decide about a row that is no longer in flight, and act on it; `crowd` and `trusted` as in `RowFacts`."""
        queued, row = flight.queued, flight.row
        work = queued.work
        trouble = work.trouble.get(row) or RowTrouble()
        facts = RowFacts(
            adapter=work.adapter,
            constrained=bool(work.chunk.schemas[row]),
            company=flight.company,
            crowd=crowd,
            trusted=trusted,
        )
        decision = decide(answer, facts, trouble, self._chance.random())
        if flight.canary and decision.batch_failure and answer.fault is None:
            decision = self._suspect_adapter(queued, decision, now)
        if decision.code == "invalid_schema":
            self._queue.distrust_schemas()
        if decision.defers_adapter:
            decision = self._defer_adapter(queued, decision, now)
        match decision.action:
            case Action.FAIL_ROW | Action.FAIL_ADAPTER:
                self._failures.add(
                    queued, row, code=decision.code, message=decision.message, status=answer.status, body=body
                )
                if decision.action is Action.FAIL_ADAPTER:
                    self._enforce(work.adapter, self._verdicts.pass_on(work.adapter, decision, now, elsewhere=False))
            case Action.ADAPTER_ELSEWHERE:
                self.put_back(flight, now)
                self._enforce(work.adapter, self._verdicts.pass_on(work.adapter, decision, now, elsewhere=True))
            case _:
                self._send_again(flight, trouble, decision, now)
        return decision

    def enforce(self, adapter: str, now: float) -> None:
        """Let a verdict that still holds decide about the rows of its adapter."""
        verdict = self._verdicts.find(adapter, now) if adapter else None
        if verdict is not None:
            self._enforce(adapter, verdict)

    def put_back(self, flight: Flight, at: float) -> None:
        """Keep a row for another try at that time, or with its chunk when that is on its way out."""
        queued = flight.queued
        if queued.work.withdrawn:
            queued.rows.append(flight.row)
        else:
            self._queue.retry(queued, flight.row, at)

    def _send_again(self, flight: Flight, trouble: RowTrouble, decision: Decision, now: float) -> None:
        queued, row = flight.queued, flight.row
        self._on_retry(decision.code)
        queued.work.trouble[row] = trouble
        trouble.attempts += decision.counts
        trouble.batch_failures += decision.batch_failure
        trouble.excused += decision.excused
        trouble.last_server = self._server_id
        trouble.not_before = now + decision.delay_s
        trouble.company = decision.company or trouble.company
        trouble.max_tokens = decision.max_tokens or trouble.max_tokens
        if decision.action is Action.RETRY_ELSEWHERE and not queued.work.withdrawn:
            trouble.elsewhere = True
            queued.elsewhere.append(row)
        else:
            self.put_back(flight, trouble.not_before)

    def _defer_adapter(self, queued: QueuedWork, decision: Decision, now: float) -> Decision:
        # Each try takes another row as its canary, so the tries are counted for the adapter.
        adapter = queued.adapter
        adapter.deferrals += 1
        adapter.not_before = now + decision.delay_s
        if adapter.deferrals < MAX_ATTEMPTS or decision.action is Action.FAIL_ADAPTER:
            return decision
        return replace(decision, action=Action.FAIL_ADAPTER)

    def _suspect_adapter(self, queued: QueuedWork, decision: Decision, now: float) -> Decision:
        # What was new in the batch that failed is the adapter: it is tried alone, so that it takes no others with it.
        adapter = queued.adapter
        adapter.not_before = now + decision.delay_s
        if decision.action is not Action.FAIL_ROW:
            return replace(decision, action=Action.RETRY_APART, company=1)
        adapter.failed_alone += 1
        return decision if adapter.failed_alone < MAX_FAILED_ALONE else replace(decision, action=Action.FAIL_ADAPTER)

    def _enforce(self, adapter: str, verdict: AdapterVerdict) -> None:
        """Fail the rows of an adapter that are not in flight, or give them back if another server may take them."""
        for queued in self._queue.withdraw(lambda candidate: candidate.work.adapter == adapter):
            work = queued.work
            if verdict.elsewhere and self._server_id not in work.refused_by:
                work.refused_by.add(self._server_id)
                self._let_go(queued)
                continue
            queued.rows.extend(queued.elsewhere)
            queued.elsewhere.clear()
            while queued.rows:
                self._failures.add(queued, queued.rows.popleft(), code=verdict.code, message=verdict.message)
            if work.in_flight:
                self._queue.works.add(queued)
