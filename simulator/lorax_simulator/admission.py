"""Which waiting rows join the batch: in order, until KV blocks or the prefill budget run out."""

from collections.abc import Callable

from lorax_simulator.adapters import AdapterPool
from lorax_simulator.blocks import BlockAllocator
from lorax_simulator.row import Row


def assemble(
    pool: AdapterPool,
    blocks: BlockAllocator,
    *,
    now: float,
    prefill_budget: int,
    token_budget: int,
    min_size: int | None,
    leaks: Callable[[], bool] = lambda: False,
) -> list[Row]:
    """Take rows from the pool with their blocks reserved; empty when fewer than `min_size` were found.

    The first row that does not fit goes back and holds up all behind it. When it `leaks`, rows put back because the
    batch was too small keep their blocks and must find a second set the next time, as the real router's code reads.
    """
    batch: list[Row] = []
    prefill_tokens = 0
    total_tokens = 0
    while (row := pool.next_row(now)) is not None:
        if row.dropped:
            blocks.release(row.blocks)
            row.blocks = 0
            continue
        prefill_tokens += row.prompt_tokens
        total_tokens += row.prompt_tokens + row.max_new_tokens
        reserved = None
        if prefill_tokens <= prefill_budget and total_tokens <= token_budget:
            reserved = blocks.allocate(row.reserved_tokens)
        if reserved is None:
            pool.push_front(row)
            break
        blocks.release(row.blocks)
        row.blocks = reserved
        batch.append(row)
    if min_size is not None and len(batch) < min_size:
        for row in reversed(batch):
            if not leaks():
                blocks.release(row.blocks)
                row.blocks = 0
            pool.push_front(row)
        return []
    return batch
