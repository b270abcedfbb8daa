"""The rows that are in the batch now."""

from collections import Counter

from lorax_simulator.blocks import BlockAllocator
from lorax_simulator.row import Row


class RunningBatch:
    """Rows by id, with what they hold: adapters in use, reserved tokens and KV blocks."""

    def __init__(self, blocks: BlockAllocator) -> None:
        self.rows: dict[int, Row] = {}
        self.adapters: Counter[str] = Counter()
        self.reserved_tokens = 0
        self._blocks = blocks

    def __len__(self) -> int:
        return len(self.rows)

    def __contains__(self, row: Row) -> bool:
        return row.id in self.rows

    @property
    def has_adapters(self) -> bool:
        """Whether any row runs with an adapter."""
        return len(self.adapters) > ("" in self.adapters)

    def join(self, row: Row) -> None:
        """Take the row in; its blocks were reserved before."""
        self.rows[row.id] = row
        self.adapters[row.adapter_id] += 1
        self.reserved_tokens += row.prompt_tokens + row.max_new_tokens

    def leave(self, row: Row) -> None:
        """Let the row go and free its blocks; one that is gone already is ignored."""
        if self.rows.pop(row.id, None) is None:
            return
        self.reserved_tokens -= row.prompt_tokens + row.max_new_tokens
        self.adapters[row.adapter_id] -= 1
        if not self.adapters[row.adapter_id]:
            del self.adapters[row.adapter_id]
        self._blocks.release(row.blocks)
        row.blocks = 0
