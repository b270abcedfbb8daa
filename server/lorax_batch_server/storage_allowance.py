"""What an upload may still store of its tenant's quota."""

from typing import Final

from lorax_batch_scheduler.ports import DatasetStore
from lorax_batch_scheduler.tenant import Storage

ASK_EVERY_BYTES: Final = 64 << 20
"""What others of the tenant have stored meanwhile is read so often: uploads side by side may overshoot by so much."""


class StorageAllowance:
    """Counts the bytes of one stream against what was left when the quota was last looked at."""

    def __init__(self, datasets: DatasetStore, storage: Storage) -> None:
        self._datasets = datasets
        self._storage = storage
        self._taken = 0
        """Since the quota was looked at."""

    @classmethod
    async def begin(cls, datasets: DatasetStore, tenant: str, *, expected: int) -> "StorageAllowance":
        """Look at the quota for a stream that will bring so many bytes. Raises `QuotaExceededError`."""
        storage = await datasets.storage(tenant)
        storage.check(expected)
        return cls(datasets, storage)

    async def take(self, byte_count: int) -> None:
        """Let some bytes in. Raises `QuotaExceededError`."""
        if self._storage.limit is None:
            return
        self._taken += byte_count
        if self._taken >= ASK_EVERY_BYTES:
            self._storage = await self._datasets.storage(self._storage.tenant)
            self._taken = byte_count
        self._storage.check(self._taken)
