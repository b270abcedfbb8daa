"""KV cache in blocks of 16 tokens."""

from lorax_simulator.limits import BLOCK_TOKENS


class BlockAllocator:
    """Counts free blocks; one of them is set aside for health checks."""

    def __init__(self, max_batch_total_tokens: int) -> None:
        self.total = max(0, max_batch_total_tokens // BLOCK_TOKENS - 1)
        self.free = self.total

    def allocate(self, tokens: int) -> int | None:
        """Take blocks for that many tokens and return their number, or None when too few are free."""
        blocks = -(-tokens // BLOCK_TOKENS)
        if blocks > self.free:
            return None
        self.free -= blocks
        return blocks

    def release(self, blocks: int) -> None:
        """Give blocks back."""
        self.free += blocks
        assert self.free <= self.total, "more blocks were released than taken"
