"""How fast servers are: slot-seconds of rows as their model says, times how much slower servers were seen to be.

What is learned is that factor, not tokens a second: a job of long prompts shows something for one of long answers too.
"""

from dataclasses import dataclass
from typing import Final

from lorax_batch_scheduler.estimates.family_facts import FamilyFacts, Gpu, expected_server
from lorax_batch_scheduler.estimates.learned import Subject, Topic
from lorax_batch_scheduler.estimates.learned_book import LearnedBook
from lorax_batch_scheduler.estimates.token_lengths import TokensLeft

FIRST_SLOWNESS: Final = 1.2
"""Servers take so much longer than the least that is possible: prefill stalls, unlike rows."""
SLOWNESS_SIGMA: Final = 0.3
KNOWN_SLOWNESS_SIGMA: Final = 0.1
SECONDS_REMEMBERED: Final = 3_600.0
SERVER_SECONDS_REMEMBERED: Final = 600.0
TRUST_S: Final = 120.0
STARTS_REMEMBERED: Final = 20.0
SLOWNESS_RANGE: Final = (0.001, 1_000.0)
LONG_ROW: Final = 1.8
"""The last row to end of those in flight is so many times as long as the mean, as far as it is allowed."""
TYPICAL_FILL: Final = 0.75


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedRows:
    """Rows that a server has ended."""

    row_count: int
    prompt_tokens: int
    completion_tokens: int
    reserved_tokens: int
    """Prompt tokens and allowed output: what they held in the KV cache."""
    with_adapters: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What a job still takes on one GPU kind."""

    slot_s: float
    """Slot-seconds of servers with enough rows in flight."""
    tail_s: float
    """From when its last row is sent to the end of that row: no number of servers makes it shorter."""
    log_sigma: float
    """Of the logarithm of `slot_s`."""
    row_count: int = 0
    reserved_tokens: float = 0.0
    """Of all its rows: prompt and allowed output."""
    full_rows: float = 0.0
    """How many such rows a server of that model holds."""
    steps_s: float = 0.0
    """Of `slot_s`, what decode steps take however few rows they have: with a part of the rows, 1/part as much."""
    seen: bool = False
    """Whether a server of the family was seen at work on that kind; else its speed is a guess."""


def least_s(facts: FamilyFacts, gpu: Gpu, rows: ServedRows, *, window_part: float = 1.0) -> float:
    """Return the slot-seconds that rows take at least, as the server's model says.

    `window_part`: of the rows that the server holds, so many are beside each other.
    """
    count = rows.row_count
    if count <= 0:
        return 0.0
    reserved = max(rows.reserved_tokens, rows.prompt_tokens + rows.completion_tokens)
    each = expected_server(facts, gpu).least_s(
        rows.prompt_tokens / count,
        rows.completion_tokens / count,
        reserved / count,
        adapter=rows.with_adapters,
        window_part=window_part,
    )
    return count * each


def learn_speed(book: LearnedBook, *, family: str, gpu: Gpu, server_id: str, busy_s: float, expected_s: float) -> None:
    """Learn from what a busy server has done: it took `busy_s` for what should take `expected_s` at least."""
    if busy_s <= 0 or expected_s <= 0:
        return
    slowness = min(max(busy_s / expected_s, SLOWNESS_RANGE[0]), SLOWNESS_RANGE[1])
    of_kind = Subject(topic=Topic.SLOWNESS, family=family, detail=gpu.kind)
    of_server = Subject(topic=Topic.SERVER_SLOWNESS, family=family, detail=server_id)
    book.observe(of_kind, slowness, amount=busy_s, memory=SECONDS_REMEMBERED)
    book.observe(of_server, slowness, amount=busy_s, memory=SERVER_SECONDS_REMEMBERED)


def slowness(book: LearnedBook, family: str, gpu_kind: str, server_id: str = "") -> tuple[float, float]:
    """Return the factor and its log-sigma: of the server, else of the family on that kind, else the first guess."""
    of_kind = book.get(Subject(topic=Topic.SLOWNESS, family=family, detail=gpu_kind))
    of_server = book.get(Subject(topic=Topic.SERVER_SLOWNESS, family=family, detail=server_id))
    if server_id and of_server.observations:
        return of_server.mean, of_server.log_sigma(before=KNOWN_SLOWNESS_SIGMA, trust=TRUST_S)
    if of_kind.observations:
        return of_kind.mean, of_kind.log_sigma(before=KNOWN_SLOWNESS_SIGMA, trust=TRUST_S)
    return FIRST_SLOWNESS, SLOWNESS_SIGMA


def speed_share(book: LearnedBook, family: str, gpu_kind: str, server_id: str) -> float:
    """Return how fast a server is against others of its family and kind; 1 until it has shown."""
    return slowness(book, family, gpu_kind)[0] / slowness(book, family, gpu_kind, server_id)[0]


def tokens_per_second(book: LearnedBook, family: str, facts: FamilyFacts, gpu: Gpu, tokens: TokensLeft) -> float:
    """Return the prompt and output tokens a second that a full server does of such rows."""
    seconds = work_left(book, family, facts, gpu, tokens).slot_s
    return (tokens.prompt + tokens.output) / seconds if seconds > 0 else 0.0


def work_left(book: LearnedBook, family: str, facts: FamilyFacts, gpu: Gpu, tokens: TokensLeft) -> Work:
    """Return what such rows take on one GPU kind."""
    count = tokens.row_count
    if count <= 0:
        return Work(slot_s=0.0, tail_s=0.0, log_sigma=0.0)
    factor, sigma = slowness(book, family, gpu.kind)
    server = expected_server(facts, gpu)
    reserved = (tokens.prompt + max(tokens.allowed, tokens.output)) / count
    each = server.least_s(tokens.prompt / count, tokens.output / count, reserved, adapter=tokens.with_adapters)
    half = server.least_s(
        tokens.prompt / count, tokens.output / count, reserved, adapter=tokens.with_adapters, window_part=0.5
    )
    full_rows = min(server.max_rows, max(server.kv_tokens / max(reserved, 1.0), 1.0))
    in_flight = min(count, int(full_rows))
    longest = min(tokens.output * LONG_ROW, max(tokens.allowed, tokens.output)) / count
    step = server.decode_s(round(in_flight * TYPICAL_FILL), with_adapters=tokens.with_adapters)
    tail = factor * (step * longest + server.prefill_base_s + server.prefill_token_s * tokens.prompt / count)
    return Work(
        slot_s=count * each * factor,
        tail_s=tail,
        log_sigma=(sigma**2 + tokens.log_sigma**2) ** 0.5,
        row_count=count,
        reserved_tokens=reserved * count,
        full_rows=full_rows,
        steps_s=count * (half - each) * factor,  # with half the rows, each has twice its part of the steps
        seen=bool(book.get(Subject(topic=Topic.SLOWNESS, family=family, detail=gpu.kind)).observations),
    )


def learn_cold_start(book: LearnedBook, family: str, gpu_kind: str, seconds: float) -> None:
    """Learn from a start that has come to its end."""
    subject = Subject(topic=Topic.COLD_START, family=family, detail=gpu_kind)
    book.observe(subject, max(seconds, 0.1), amount=1.0, memory=STARTS_REMEMBERED)


def cold_start_s(book: LearnedBook, family: str, facts: FamilyFacts, gpu: Gpu) -> float:
    """Return how long a start takes until the server is ready: learned, else as the model's size says."""
    learned = book.get(Subject(topic=Topic.COLD_START, family=family, detail=gpu.kind))
    return learned.mean if learned.observations else expected_server(facts, gpu).cold_start_s
