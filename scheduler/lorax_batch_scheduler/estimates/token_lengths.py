"""How many tokens the rows left of a job will take: by what was learned, and by its own rows that have ended."""

import math
from dataclasses import dataclass
from typing import Final

from lorax_batch_scheduler.estimates.learned import Subject, Topic
from lorax_batch_scheduler.estimates.learned_book import LearnedBook

ROWS_REMEMBERED: Final = 20_000
"""Rows so long ago count 1/e."""
FIRST_RATIO: Final = 0.5
"""Output over allowed tokens before any row has ended."""
ROW_SIGMA: Final = 0.8
"""Of the logarithm of one row's output length within a job: its own mean is known ever better the more have ended."""
UNKNOWN_SIGMA: Final = 0.7
"""Of the logarithm of a job's mean output length when nothing like it was seen."""
KIN_SIGMA: Final = 0.5
"""The same when other adapters of the family were seen."""
KNOWN_SIGMA: Final = 0.35
"""The same when rows of the same family and adapter were seen, until their spread is known."""
TRUST_ROWS: Final = 200.0
PROMPT_SIGMA: Final = 0.25
"""Of the logarithm of prompt tokens, counted by their characters at ingest; until the family has shown its ratio."""
KNOWN_PROMPT_SIGMA: Final = 0.1
MOST_SIGMA: Final = 1.5


@dataclass(frozen=True, slots=True, kw_only=True)
class RowsEnded:
    """Rows of one job and adapter whose results were just committed."""

    family: str
    adapter: str
    """As servers know it; "" for the base model."""
    row_count: int
    """Those that succeeded: failed ones say nothing of lengths."""
    prompt_tokens: int
    """As the server counted them."""
    completion_tokens: int
    estimated_prompt_tokens: int = 0
    """Of the same rows, as ingest estimated; 0: not known."""
    allowed_tokens: int = 0
    """Sum of their `max_tokens`, after defaults; 0: not known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AdapterLeft:
    """Rows of one adapter that have no result."""

    adapter: str
    row_count: int
    prompt_tokens: int
    """Estimated at ingest, for these rows."""
    allowed_tokens: int
    """Sum of their `max_tokens`, after defaults."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobLeft:
    """What is left of a job, and what its own rows have shown."""

    family: str
    rows: tuple[AdapterLeft, ...]
    ended_rows: int = 0
    """That succeeded."""
    ended_completion_tokens: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class TokensLeft:
    """Tokens that a job still takes."""

    row_count: int
    prompt: float
    output: float
    allowed: float
    with_adapters: bool
    log_sigma: float
    """Of the logarithm of their sum, output above all."""


def learn_lengths(book: LearnedBook, ended: RowsEnded) -> None:
    """Learn from rows that have ended."""
    rows = ended.row_count
    if rows <= 0:
        return
    length = max(ended.completion_tokens / rows, 1.0)
    for subject in (
        Subject(topic=Topic.OUTPUT_TOKENS, family=ended.family, detail=ended.adapter),
        Subject(topic=Topic.FAMILY_OUTPUT_TOKENS, family=ended.family),
    ):
        book.observe(subject, length, amount=rows, memory=ROWS_REMEMBERED)
    if ended.allowed_tokens > 0:
        ratio = min(max(ended.completion_tokens / ended.allowed_tokens, 1e-3), 1.0)
        book.observe(Subject(topic=Topic.OUTPUT_RATIO), ratio, amount=rows, memory=ROWS_REMEMBERED)
    if ended.estimated_prompt_tokens > 0 and ended.prompt_tokens > 0:
        ratio = ended.prompt_tokens / ended.estimated_prompt_tokens
        subject = Subject(topic=Topic.PROMPT_RATIO, family=ended.family)
        book.observe(subject, ratio, amount=rows, memory=ROWS_REMEMBERED)


def output_length(book: LearnedBook, family: str, adapter: str, allowed: float) -> tuple[float, float]:
    """Return the expected output tokens of a row, and the log-sigma of a job's mean; `allowed` is a row's limit.

    By family and adapter, else by family, else as a share of what is allowed.
    """
    exact = book.get(Subject(topic=Topic.OUTPUT_TOKENS, family=family, detail=adapter))
    kin = book.get(Subject(topic=Topic.FAMILY_OUTPUT_TOKENS, family=family))
    if exact.observations:
        length, sigma = exact.mean, exact.log_sigma(before=KNOWN_SIGMA, trust=TRUST_ROWS)
    elif kin.observations:
        length, sigma = kin.mean, kin.log_sigma(before=KIN_SIGMA, trust=TRUST_ROWS)
    else:
        ratio = book.get(Subject(topic=Topic.OUTPUT_RATIO))
        length, sigma = (ratio.mean if ratio.observations else FIRST_RATIO) * allowed, UNKNOWN_SIGMA
    return max(min(length, allowed) if allowed else length, 1.0), min(sigma, MOST_SIGMA)


def tokens_left(book: LearnedBook, job: JobLeft) -> TokensLeft:
    """Return what the rows left of a job will take, as far as can be told."""
    rows = sum(each.row_count for each in job.rows)
    ratio = book.get(Subject(topic=Topic.PROMPT_RATIO, family=job.family))
    prompt = sum(each.prompt_tokens for each in job.rows) * (ratio.mean if ratio.observations else 1.0)
    allowed = float(sum(each.allowed_tokens for each in job.rows))
    output = variance = 0.0
    for each in job.rows:
        limit = each.allowed_tokens / max(each.row_count, 1)
        length, sigma = output_length(book, job.family, each.adapter, limit)
        output += length * each.row_count
        # Adapters of one job are wrong together more often than not: sigmas are added by weight, not by square.
        variance += sigma * length * each.row_count
    sigma = max(variance / output, 0.05) if output else UNKNOWN_SIGMA
    output, sigma = _with_own(job, output, sigma, rows)
    if allowed and output > allowed:
        output = allowed
    prompt_sigma = KNOWN_PROMPT_SIGMA if ratio.observations else PROMPT_SIGMA
    total = output + prompt
    # An output token takes far longer than a prompt token: its part of the error counts as if prompts were a tenth.
    share = output / max(output + prompt / 10, 1.0) if total else 0.0
    return TokensLeft(
        row_count=rows,
        prompt=prompt,
        output=output,
        allowed=allowed,
        with_adapters=any(each.adapter for each in job.rows),
        log_sigma=math.hypot(sigma * share, prompt_sigma * (1 - share)),
    )


def _with_own(job: JobLeft, output: float, sigma: float, rows: int) -> tuple[float, float]:
    """Blend what is foretold with the job's own rows, each by how sure it is; return the output and its log-sigma."""
    own = job.ended_rows
    if own <= 0 or not rows or not output:
        return output, sigma
    foretold = output / rows
    worth = (ROW_SIGMA / sigma) ** 2  # rows that the foretold mean counts like
    mean = (foretold * worth + max(job.ended_completion_tokens, own)) / (worth + own)
    certainty = 1 / sigma**2 + own / ROW_SIGMA**2
    # What is left scatters by itself, too: few rows are less sure than many.
    left_over = ROW_SIGMA**2 / max(rows, 1)
    return mean * rows, math.sqrt(1 / certainty + left_over)
