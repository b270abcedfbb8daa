"""What to do after a row's answer that is no result: one pure function over one table.

Three things bound how often a row is sent:
- *attempts*: answers that speak against the row. After `MAX_ATTEMPTS` it has failed.
- *batch failures*: failures that hit every row in flight, so that the row at fault can't be told. A row that was in
  flight at two of them is a suspect, sent apart from the others. Each time that suspects fail together, they are sent
  with a quarter as many of their like; the one that fails alone was the one. So one bad row among 1,000 is found in
  some 20 rounds, and the others are sent 2.3 times more in the mean.
- what says nothing about the row (429, a refused connection, a restarting server) is not counted at all.
"""

from dataclasses import dataclass, replace
from enum import StrEnum

from lorax_batch_scheduler.lorax_servers.connection import WireFault
from lorax_batch_scheduler.running.bad_answer import BadAnswer
from lorax_batch_scheduler.running.generation_error import Cause, Rule, read_generation_error
from lorax_batch_scheduler.running.length_error import read_length_error
from lorax_batch_scheduler.work import RowTrouble

MAX_ATTEMPTS = 4
MAX_BATCH_FAILURES = 2
"""After so many a row is a suspect."""
SUSPECTS_KEPT = 4
"""Of so many suspects that failed together, one is sent with each of the next crowds."""
MAX_EXCUSED = 6
"""So often a row's failure is put down to a server that answers nobody; each time the server rests longer."""
BACK_OFF_S = 0.5
MAX_BACK_OFF_S = 30.0
MAX_RETRY_AFTER_S = 300.0
ADAPTER_BACK_OFF_S = 10.0
ADAPTER_VERDICT_S = 300.0
"""How long an adapter that can't be used is not asked for again on a server: each try stalls all its rows."""


class Action(StrEnum):
    """What becomes of the row."""

    FAIL_ROW = "FAIL_ROW"
    RETRY_HERE = "RETRY_HERE"
    RETRY_ELSEWHERE = "RETRY_ELSEWHERE"
    RETRY_APART = "RETRY_APART"
    """Send it while only so many other suspects are in flight on the server as the decision says."""
    FAIL_ADAPTER = "FAIL_ADAPTER"
    """The row fails, and so do the adapter's others on this server for a while."""
    ADAPTER_ELSEWHERE = "ADAPTER_ELSEWHERE"
    """This server will not run the adapter; another may."""


class Signal(StrEnum):
    """What the answer says about the server."""

    NONE = "NONE"
    OVERLOADED = "OVERLOADED"
    """It has more rows than it takes."""
    OUT_OF_MEMORY = "OUT_OF_MEMORY"
    SICK = "SICK"
    """Send nothing until it proves well."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RowFacts:
    """What the decision needs to know of the row as it was sent."""

    adapter: str
    """"" is the base model."""
    constrained: bool
    """Whether a JSON schema or tools constrain its output."""
    company: int
    """How many rows, all suspects, were in flight with it at most; 0: as many as there happened to be."""
    crowd: int
    """How many rows were in flight when it failed."""
    trusted: bool = True
    """Whether the server has answered any row since it was last in trouble, or is a new process."""

    @property
    def alone(self) -> bool:
        """Whether nothing else was in flight all the while."""
        return self.company == 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What becomes of a row, and what was learned of its server."""

    action: Action
    code: str
    """Of the row error, now or when it can't be sent again."""
    message: str
    counts: bool = False
    """Whether it was an attempt."""
    batch_failure: bool = False
    """Whether it was a failure of all rows in flight."""
    excused: bool = False
    """Whether it was the server that failed, not the row."""
    company: int = 0
    """How many suspects may be in flight together when it is sent apart."""
    delay_s: float = 0.0
    signal: Signal = Signal.NONE
    max_tokens: int = 0
    """What the row may ask for when it is sent again; 0: as before."""
    defers_adapter: bool = False
    """Whether the adapter's other rows wait as long."""


def decide(answer: BadAnswer, row: RowFacts, trouble: RowTrouble, chance: float) -> Decision:
    """Return what to do; `trouble` is what the row went through before, `chance` in [0, 1) spreads the delays."""
    if answer.fault is not None:
        return _after_fault(answer, answer.fault, row, trouble, chance)
    if answer.status == 429 or answer.error_type == "overloaded":
        return _after_overload(answer, trouble, chance)
    if answer.status == 424 or answer.error_type == "generation":
        rule = read_generation_error(answer.message, adapter=row.adapter)
        return _after_generation_error(answer, rule, row, trouble, chance)
    if answer.error_type in PERMANENT_TYPES:
        return _after_refusal(answer, row, trouble, chance)
    if answer.status in UNAVAILABLE:
        return _batch_failure(answer, answer.code, row, trouble, chance, Signal.SICK)
    if answer.status in SENT_AGAIN or answer.status >= 500 or answer.status < 400:
        limit = 2 if answer.error_type in SENT_TWICE else MAX_ATTEMPTS
        return _attempt(answer, answer.code, trouble, chance, limit)
    return _after_refusal(answer, row, trouble, chance)


UNAVAILABLE = frozenset({502, 503})
"""A proxy's words for a server that is gone."""
SENT_AGAIN = frozenset({408, 409, 425})
SENT_TWICE = frozenset({"embedding_failure", "classification_failure"})
PERMANENT_TYPES = frozenset({"validation", "template_error", "missing_template_variable"})


def _after_fault(answer: BadAnswer, fault: WireFault, row: RowFacts, trouble: RowTrouble, chance: float) -> Decision:
    if fault is WireFault.REFUSED:
        return _decision(answer, Action.RETRY_HERE, answer.code)
    if fault in (WireFault.RESET, WireFault.CUT):
        return _batch_failure(answer, answer.code, row, trouble, chance)
    if fault is WireFault.TOO_LARGE:
        return _decision(answer, Action.FAIL_ROW, "answer_too_large")
    if fault is WireFault.STALLED:
        return _batch_failure(answer, "server_stalled", row, trouble, chance)
    code = "invalid_response" if fault is WireFault.GARBAGE else "row_timed_out"
    return _attempt(answer, code, trouble, chance)


def _after_overload(answer: BadAnswer, trouble: RowTrouble, chance: float) -> Decision:
    if answer.error_type == "insufficient_quota":
        return _decision(answer, Action.FAIL_ROW, "insufficient_quota")
    # The in-flight limit falls with each of these, so the delay need not grow.
    delay_s = answer.retry_after_s if answer.retry_after_s is not None else BACK_OFF_S * (0.5 + chance)
    decision = _decision(answer, Action.RETRY_HERE, answer.code)
    return replace(decision, delay_s=min(delay_s, MAX_RETRY_AFTER_S), signal=Signal.OVERLOADED)


def _after_generation_error(
    answer: BadAnswer, rule: Rule, row: RowFacts, trouble: RowTrouble, chance: float
) -> Decision:
    match rule.cause:
        case Cause.ADAPTER_BAD:
            return _decision(answer, Action.FAIL_ADAPTER, rule.code)
        case Cause.ADAPTER_REFUSED:
            return _decision(answer, Action.ADAPTER_ELSEWHERE, rule.code)
        case Cause.ADAPTER_UNREACHABLE:
            decision = _attempt(answer, rule.code, trouble, chance, back_off_s=ADAPTER_BACK_OFF_S)
            if decision.action is Action.FAIL_ROW:
                return replace(decision, action=Action.FAIL_ADAPTER)
            return replace(decision, defers_adapter=True)
        case Cause.WRONG_KIND:
            return _decision(answer, Action.FAIL_ROW, rule.code)
        case Cause.NO_STRUCTURED_OUTPUT | Cause.SCHEMA if row.constrained and (
            row.alone or rule.cause is Cause.NO_STRUCTURED_OUTPUT
        ):
            return _decision(answer, Action.FAIL_ROW, rule.code)
        case Cause.SCHEMA if row.constrained:
            return replace(_decision(answer, Action.RETRY_APART, rule.code), batch_failure=True, company=1)
        case Cause.OUT_OF_MEMORY:
            return _batch_failure(answer, rule.code, row, trouble, chance, Signal.OUT_OF_MEMORY)
        case Cause.SHARD_BROKEN:
            return _batch_failure(answer, rule.code, row, trouble, chance, Signal.SICK, Action.RETRY_ELSEWHERE)
        case Cause.SHARD_DIED:
            return _batch_failure(answer, rule.code, row, trouble, chance, Signal.SICK)
        case _:
            return _batch_failure(answer, rule.code, row, trouble, chance)


def _after_refusal(answer: BadAnswer, row: RowFacts, trouble: RowTrouble, chance: float) -> Decision:
    length = read_length_error(answer.message)
    if length is not None:
        if length.room > 0 and trouble.max_tokens == 0:
            return replace(_decision(answer, Action.RETRY_HERE, "context_length_exceeded"), max_tokens=length.room)
        return _decision(answer, Action.FAIL_ROW, "context_length_exceeded")
    if answer.error_type == "tool_error" and "failed to parse generated text" in answer.message.lower():
        return _attempt(answer, answer.code, trouble, chance, limit=2)  # sampled: the next text may be well-formed
    if answer.status == 404 and row.adapter and answer.content_type == "application/json":
        return _decision(answer, Action.FAIL_ADAPTER, "adapter_not_found")
    return _decision(answer, Action.FAIL_ROW, answer.code)


def _attempt(
    answer: BadAnswer,
    code: str,
    trouble: RowTrouble,
    chance: float,
    limit: int = MAX_ATTEMPTS,
    back_off_s: float = BACK_OFF_S,
) -> Decision:
    if trouble.attempts + 1 >= limit:
        return replace(_decision(answer, Action.FAIL_ROW, code), counts=True)
    delay_s = min(MAX_BACK_OFF_S, back_off_s * 2**trouble.attempts) * (0.5 + chance)
    delay_s = max(delay_s, min(answer.retry_after_s or 0.0, MAX_RETRY_AFTER_S))
    return replace(_decision(answer, Action.RETRY_HERE, code), counts=True, delay_s=delay_s)


def _batch_failure(
    answer: BadAnswer,
    code: str,
    row: RowFacts,
    trouble: RowTrouble,
    chance: float,
    signal: Signal = Signal.NONE,
    action: Action = Action.RETRY_HERE,
) -> Decision:
    failures = trouble.batch_failures + 1
    delay_s = min(MAX_BACK_OFF_S, BACK_OFF_S * failures) * (0.5 + chance)
    if signal is Signal.SICK and not row.trusted and trouble.excused < MAX_EXCUSED:
        return replace(_decision(answer, action, code), excused=True, delay_s=delay_s, signal=signal)
    company = 0
    if row.alone and failures > MAX_BATCH_FAILURES:
        action = Action.FAIL_ROW
    elif failures >= MAX_BATCH_FAILURES:
        action = Action.RETRY_APART
        company = max(1, (row.company or row.crowd) // SUSPECTS_KEPT)
    return replace(_decision(answer, action, code), batch_failure=True, company=company, delay_s=delay_s, signal=signal)


def _decision(answer: BadAnswer, action: Action, code: str) -> Decision:
    return Decision(action=action, code=code, message=answer.message or code.replace("_", " "))
