"""The rows of a trace's job, drawn when the trace gives a distribution."""

import math
import random
from collections.abc import Iterator

from lorax_batch_scheduler.replay.trace import RowDistribution, TraceJob
from lorax_batch_scheduler.replay.virtual_server import VirtualRow


def rows_of(job: TraceJob, number: int, *, max_tokens: int) -> Iterator[VirtualRow]:
    """Yield the rows of the `number`th job; none reserves more than `max_tokens`."""
    if job.drawn is not None:
        yield from _drawn(job.drawn, number, max_tokens)
    for group in job.rows:
        asked = max(group.max_tokens, group.output_tokens)
        row = _row(number, group.adapter, group.prompt_tokens, group.output_tokens, asked, max_tokens)
        for _ in range(group.count):
            yield row


def _drawn(drawn: RowDistribution, number: int, max_tokens: int) -> Iterator[VirtualRow]:
    chance = random.Random(drawn.seed)  # noqa: S311 - reproducible on purpose
    weights = [1 / (rank + 1) ** drawn.zipf for rank in range(len(drawn.adapters))]
    names = chance.choices(drawn.adapters, weights, k=drawn.count) if drawn.adapters else [""] * drawn.count
    for adapter in names:
        prompt = max(round(chance.lognormvariate(math.log(drawn.prompt_median), drawn.prompt_sigma)), 1)
        output = max(round(chance.lognormvariate(math.log(drawn.output_median), drawn.output_sigma)), 1)
        yield _row(number, adapter, prompt, min(output, drawn.max_tokens), drawn.max_tokens, max_tokens)


def _row(number: int, adapter: str, prompt: int, output: int, asked: int, max_tokens: int) -> VirtualRow:
    prompt = min(prompt, max_tokens // 2)
    asked = min(asked, max_tokens - prompt)
    return VirtualRow(number, adapter, prompt, min(output, asked), prompt + asked)
