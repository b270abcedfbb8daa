"""State changes far behind: read once for all who ask, in order, and never more than a few pages in memory."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime

from lorax_batch_scheduler.job import JobState, StateChange
from lorax_batch_server.stored_changes import StoredChanges

NOW = datetime(2026, 11, 23, tzinfo=UTC)


class Events:
    """An event store that counts its reads."""

    def __init__(self, latest: int) -> None:
        self.latest = latest
        self.reads: list[int] = []

    async def latest_sequence(self) -> int:
        return self.latest

    async def state_changes(self, after: int, *, limit: int) -> list[StateChange]:
        self.reads.append(after)
        await asyncio.sleep(0)
        return [
            StateChange(
                sequence=sequence,
                job_id="job_1",
                from_state=None,
                to_state=JobState.QUEUED,
                reason="",
                time=NOW,
                job=None,
            )
            for sequence in range(after + 1, min(after + limit, self.latest) + 1)
        ]

    def on_change(self, listener: Callable[[str], None]) -> Callable[[], None]:
        raise NotImplementedError


async def read_all(changes: StoredChanges, after: int) -> list[int]:
    """Return the sequences behind one, as a watcher reads them."""
    sequences = []
    while (change := await changes.next(after)) is not None:
        after = change.sequence
        sequences.append(after)
    return sequences


async def test_a_thousand_watchers_that_come_back_cost_one_read_a_page():
    events = Events(latest=1_000)
    changes = StoredChanges(events, page_size=100, kept_pages=2)
    async with asyncio.TaskGroup() as group:
        watchers = [group.create_task(read_all(changes, 100)) for _ in range(1_000)]
    assert all(watcher.result() == list(range(101, 1_001)) for watcher in watchers)
    pages = [after for after in events.reads if after < 1_000]
    assert pages == list(range(100, 1_000, 100))


async def test_what_happens_later_is_found_though_it_was_not_there_before():
    events = Events(latest=3)
    changes = StoredChanges(events, page_size=100, kept_pages=2)
    assert await read_all(changes, 0) == [1, 2, 3]
    events.latest = 5
    assert await read_all(changes, 0) == [1, 2, 3, 4, 5]


async def test_watchers_at_many_places_read_on_though_only_few_pages_are_kept():
    changes = StoredChanges(Events(latest=300), page_size=10, kept_pages=2)
    async with asyncio.TaskGroup() as group:
        watchers = [group.create_task(read_all(changes, start)) for start in range(0, 300, 7)]
    for start, watcher in zip(range(0, 300, 7), watchers, strict=True):
        assert watcher.result() == list(range(start + 1, 301))
