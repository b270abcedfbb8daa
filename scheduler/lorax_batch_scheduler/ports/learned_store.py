"""Where what was learned is kept from one life of the service to the next."""

from collections.abc import Mapping
from typing import Protocol

from lorax_batch_scheduler.estimates.learned import Learned, Subject


class LearnedStore(Protocol):
    """A few numbers about each subject; the last writer is right."""

    async def learned(self, *, limit: int) -> dict[Subject, Learned]:
        """Return what was learned, at most the `limit` that changed last; topics that are not known are left out."""
        ...

    async def store_learned(self, learned: Mapping[Subject, Learned]) -> None: ...
