"""What an upload may still store of its tenant's quota, asked for as its bytes come."""

from typing import Final

from lorax_batch_scheduler.ports import DatasetStore

ASK_EVERY_BYTES: Final = 64 << 20
"""Uploads that go on side by side may overshoot the quota by so much each."""


class StorageAllowance:
    """Counts the bytes of one stream; what it stored already is in the store's count."""

    def __init__(self, datasets: DatasetStore, tenant: str) -> None:
        self._datasets = datasets
        self._tenant = tenant
        self._taken = 0

    async def take(self, byte_count: int) -> None:
        """Let some bytes in. Raises `QuotaExceededError`."""
        self._taken += byte_count
        if self._taken >= ASK_EVERY_BYTES:
            self._taken = 0
            await self._datasets.check_stored_bytes(self._tenant, byte_count)
