"""A caretaker on the stores of a test's own database."""

from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path

import pytest
import pytest_asyncio
from lorax_batch_scheduler.clock import SystemClock
from lorax_batch_scheduler.objects.directory import DirectoryObjectStore
from lorax_batch_scheduler.removals import Removals
from lorax_batch_scheduler.retention import RetentionPolicy
from lorax_batch_scheduler.retention.caretaker import Caretaker
from lorax_batch_scheduler.retention.remains import Remains
from lorax_batch_scheduler.retention.tenant_removal import TenantRemoval

from tests.integration.postgres.conftest import Stores

MakeCaretaker = Callable[..., Caretaker]


class HastyClock(SystemClock):
    """A clock whose pauses are over at once."""

    async def sleep(self, seconds: float) -> None:
        await super().sleep(0)


@pytest_asyncio.fixture
async def objects(tmp_path: Path) -> AsyncIterator[DirectoryObjectStore]:
    async with DirectoryObjectStore(tmp_path / "objects") as objects:
        yield objects


def hasty_removals(stores: Stores, objects: DirectoryObjectStore) -> Removals:
    return Removals(stores.removals, objects, clock=HastyClock())


def hasty_caretaker(
    stores: Stores, objects: DirectoryObjectStore, policy: RetentionPolicy, *, scheduler_id: str = "caretaker"
) -> Caretaker:
    """Return a caretaker that makes no pauses."""
    clock = HastyClock()
    return Caretaker(
        stores.retention,
        stores.jobs,
        objects,
        Remains(stores.retention, clock=clock),
        TenantRemoval(stores.tenant_removals, stores.jobs, stores.datasets),
        policy,
        scheduler_id=lambda: scheduler_id,
        clock=clock,
    )


@pytest.fixture
def removals(stores: Stores, objects: DirectoryObjectStore) -> Removals:
    return hasty_removals(stores, objects)


@pytest.fixture
def remains(stores: Stores) -> Remains:
    return Remains(stores.retention, clock=HastyClock())


@pytest.fixture
def caretaker(stores: Stores, objects: DirectoryObjectStore) -> MakeCaretaker:
    """Return what makes caretakers of a policy."""
    return partial(hasty_caretaker, stores, objects)
