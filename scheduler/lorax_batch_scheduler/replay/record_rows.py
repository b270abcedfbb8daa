"""The rows of a recorded job: counts by adapter are known, tokens only as sums over the whole job."""

import math
from dataclasses import dataclass
from typing import Final

from lorax_batch_scheduler.replay.trace import RowGroup

SPREAD: Final = (0.374, 0.610, 0.838, 1.156, 2.022)
"""Means of the fifths of a log-normal distribution with sigma 0.6 and mean 1: outputs are never all alike."""
UNKNOWN_PROMPT_TOKENS: Final = 256
UNKNOWN_OUTPUT_TOKENS: Final = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedRows:
    """What a service tells of the rows of a job."""

    row_count: int
    """That are sent to servers: without invalid ones."""
    adapters: tuple[tuple[str, int], ...] = ()
    """Rows of the dataset by adapter, "" for the base model; empty: unknown, as when the dataset is deleted."""
    hidden_adapters: int = 0
    """How many further adapters there are, each with fewer rows than those."""
    hidden_rows: int = 0
    """The rows of those together."""
    succeeded: int = 0
    """The rows that the sums are of."""
    prompt_tokens: int = 0
    output_tokens: int = 0
    estimated_prompt_tokens: float = 0.0
    """Of one row, from its characters; 0: unknown."""
    max_tokens: int = 0
    """What rows ask for that say nothing; 0: unknown."""


def row_groups(rows: RecordedRows) -> list[RowGroup]:
    """Return groups with as many rows as the job has, spread over its adapters as the dataset's are."""
    if rows.succeeded and rows.prompt_tokens:
        prompt = rows.prompt_tokens / rows.succeeded
        output = rows.output_tokens / rows.succeeded
    else:
        prompt = rows.estimated_prompt_tokens or UNKNOWN_PROMPT_TOKENS
        output = rows.max_tokens / 2 or UNKNOWN_OUTPUT_TOKENS
    groups: list[RowGroup] = []
    for adapter, count in _scaled(_by_adapter(rows), rows.row_count):
        for part, factor in zip(_parted(count, len(SPREAD)), SPREAD, strict=True):
            made = max(round(output * factor), 1) if count >= len(SPREAD) else max(round(output), 1)
            groups += _group(part, adapter, max(round(prompt), 1), made, rows.max_tokens)
    return groups


def _group(count: int, adapter: str, prompt: int, output: int, asked: int) -> list[RowGroup]:
    if not count:
        return []
    made = min(output, asked) if asked else output
    return [RowGroup(count=count, prompt_tokens=prompt, output_tokens=made, max_tokens=asked, adapter=adapter)]


def _by_adapter(rows: RecordedRows) -> list[tuple[str, int]]:
    hidden = zip(range(rows.hidden_adapters), _parted(rows.hidden_rows, rows.hidden_adapters), strict=True)
    return [*rows.adapters, *((f"hidden-{number + 1}", count) for number, count in hidden)]


def _scaled(counts: list[tuple[str, int]], total: int) -> list[tuple[str, int]]:
    """Return the counts in the same proportion and with that sum: largest remainders get what rounding leaves."""
    known = sum(count for _, count in counts)
    if not known:
        return [("", total)]
    exact = [(adapter, count * total / known) for adapter, count in counts]
    whole = [math.floor(share) for _, share in exact]
    order = sorted(range(len(exact)), key=lambda index: (whole[index] - exact[index][1], index))
    for index in order[: total - sum(whole)]:
        whole[index] += 1
    return [(adapter, count) for (adapter, _), count in zip(exact, whole, strict=True) if count]


def _parted(count: int, parts: int) -> list[int]:
    """Return `count` in so many parts that differ by at most one, the larger ones in the middle."""
    if not parts:
        return []
    found = [count // parts] * parts
    middle_out = sorted(range(parts), key=lambda index: (abs(2 * index - parts + 1), index))
    for index in middle_out[: count % parts]:
        found[index] += 1
    return found
