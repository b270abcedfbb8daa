"""Tells callers what happens to jobs: one task reads the stores, every watcher reads from it."""

import asyncio
import bisect
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Final

import structlog
from lorax_batch_scheduler.errors import DatabaseError
from lorax_batch_scheduler.job import Job, JobFilter, StateChange
from lorax_batch_scheduler.ports import EventStore, JobStore

from lorax_batch_server.stopping import Stopping
from lorax_batch_server.watcher import Deleted, Happening, Heartbeat, Progress, Snapshot, StateChanged, Watcher

MIN_PROGRESS_INTERVAL_S: Final = 0.25
PROGRESS_MESSAGES_PER_SECOND: Final = 2_000
"""A message costs about 50 us of the loop: this is a tenth of a core."""
MAX_KEPT_CHANGES: Final = 2_000
"""State changes kept in memory; a watcher that is further behind reads the store."""
CHANGES_AT_ONCE: Final = 500
SNAPSHOT_PAGE: Final = 200
POLL_S: Final = 5.0
"""Looks at the store this often even when nothing was notified."""
RETRY_S: Final = 1.0

_log = structlog.get_logger(__name__)


class WatchHub:
    """Fans out what happens to jobs. `run` is its one task; the owner keeps it alive while watches are served."""

    def __init__(
        self,
        jobs: JobStore,
        events: EventStore,
        stopping: Stopping,
        *,
        heartbeat_s: float = 15.0,
        progress_interval_s: float = MIN_PROGRESS_INTERVAL_S,
        poll_s: float = POLL_S,
    ) -> None:
        self._jobs = jobs
        self._events = events
        self._stopping = stopping
        self._heartbeat_s = heartbeat_s
        self._progress_interval_s = progress_interval_s
        self._poll_s = poll_s
        self._wake = asyncio.Event()
        self._changed: set[str] = set()
        self._changes: list[StateChange] = []
        self._kept_after = 0
        """Every state change behind this sequence is in `_changes`."""
        self._sequence: int | None = None
        """Of the last state change read; None while nobody watches."""
        self._named: dict[str, set[Watcher]] = {}
        self._open: set[Watcher] = set()
        """Watchers of a filter."""
        self._watchers: set[Watcher] = set()

    @property
    def watcher_count(self) -> int:
        """How many watch now."""
        return len(self._watchers)

    def close(self) -> None:
        """End every watch with `StoppingError`, now."""
        self._stopping.begin()

    # --- the one task ---------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Read what has changed and wake the watchers it concerns, until cancelled."""
        stop_listening = self._events.on_change(self._on_change)
        loop = asyncio.get_running_loop()
        next_progress = loop.time()
        try:
            while True:
                now = loop.time()
                due = bool(self._changed) and now >= next_progress
                wait_s = self._poll_s if due or not self._changed else next_progress - now
                try:
                    await self._pass(with_progress=due)
                except DatabaseError as error:
                    _log.warning("watch_read_failed", error=str(error), retry_s=RETRY_S)
                    await asyncio.sleep(RETRY_S)
                    continue
                if due:
                    next_progress = loop.time() + self._interval_s()
                    wait_s = self._interval_s() if self._changed else self._poll_s
                await self._wait(wait_s)
        finally:
            stop_listening()

    def _interval_s(self) -> float:
        return max(self._progress_interval_s, len(self._watchers) / PROGRESS_MESSAGES_PER_SECOND)

    def _on_change(self, job_id: str) -> None:
        if self._watchers:
            self._changed.add(job_id)
            self._wake.set()

    async def _wait(self, timeout_s: float) -> None:
        try:
            async with asyncio.timeout(timeout_s):
                await self._wake.wait()
        except TimeoutError:
            if self._watchers:
                self._changed.add("")  # A notification may have been lost.
        self._wake.clear()

    async def _pass(self, *, with_progress: bool) -> None:
        if not self._watchers:
            self._forget()
            return
        # Jobs first: so the state changes read after them include the one each job is in.
        taken, jobs, gone = await self._read_jobs() if with_progress else (set(), [], [])
        try:
            changes = await self._read_changes()
        except DatabaseError:
            self._changed |= taken
            raise
        self._publish(jobs, gone, changes)

    def _forget(self) -> None:
        self._sequence = None
        self._changes.clear()
        self._changed.clear()

    async def _read_jobs(self) -> tuple[set[str], list[Job], list[str]]:
        """Return the changes taken up, the jobs that changed, and the ids of those that are no more."""
        taken, self._changed = self._changed, set()
        try:
            if "" in taken:
                wanted = taken | self._named.keys() - {""}
                unfinished = await self._jobs.unfinished_jobs() if self._open else []
            else:
                wanted = taken if self._open else taken & self._named.keys()
                unfinished = []
            wanted = wanted - {""} - {job.job_id for job in unfinished}
            jobs = await self._jobs.get_jobs(sorted(wanted)) if wanted else []
        except DatabaseError:
            self._changed |= taken
            raise
        gone = wanted.difference(job.job_id for job in jobs)
        return taken, [*jobs, *unfinished], sorted(gone)

    async def _read_changes(self) -> list[StateChange]:
        if self._sequence is None:
            self._sequence = self._kept_after = await self._events.latest_sequence()
            return []
        changes: list[StateChange] = []
        after = self._sequence
        while True:
            some = await self._events.state_changes(after, limit=CHANGES_AT_ONCE)
            changes.extend(some)
            if len(some) < CHANGES_AT_ONCE:
                return changes
            after = some[-1].sequence

    def _publish(self, jobs: list[Job], gone: list[str], changes: list[StateChange]) -> None:
        # No await here: watchers see all of it or nothing.
        newest: dict[str, int] = {}
        for change in changes:
            newest[change.job.job_id] = change.sequence
            for watcher in self._concerned(change.job.job_id):
                watcher.drop_progress(change.job.job_id)
        if changes:
            self._changes.extend(changes)
            self._sequence = changes[-1].sequence
            if len(self._changes) > 2 * MAX_KEPT_CHANGES:
                self._kept_after = self._changes[-MAX_KEPT_CHANGES - 1].sequence
                del self._changes[:-MAX_KEPT_CHANGES]
        for job in jobs:
            if job.state.terminal or job.sequence < newest.get(job.job_id, 0):
                continue
            for watcher in self._concerned(job.job_id):
                if watcher.where.matches(job):
                    watcher.put_progress(job)
        for job_id in gone:
            for watcher in self._concerned(job_id):
                watcher.put_deleted(job_id)
        if changes:
            for watcher in self._watchers:
                watcher.wake.set()

    def _concerned(self, job_id: str) -> Iterator[Watcher]:
        yield from self._open
        yield from self._named.get(job_id, ())

    # --- what a watcher reads -------------------------------------------------------------------------------------

    async def watch(self, where: JobFilter, after: int | None) -> AsyncIterator[Happening]:
        """Yield what happens to the selected jobs: from a snapshot, or everything behind a sequence.

        Raises:
            NotFoundError: a named job does not exist.
            SequenceTooOldError: the state changes behind `after` are no longer kept.
            OutOfRangeError: `after` lies ahead of everything that has happened.
            StoppingError: the service shuts down.
        """
        self._stopping.check()
        watcher = Watcher(where)
        with self._registered(watcher):
            latest = await self._events.latest_sequence()
            if after is None:
                watcher.cursor = latest
                async for snapshot in self._snapshot(watcher):
                    yield snapshot
                yield Heartbeat(watcher.cursor)
            else:
                await watcher.resume(self._jobs, after, latest)
            async for happening in self._follow(watcher):
                yield happening

    @contextmanager
    def _registered(self, watcher: Watcher) -> Iterator[None]:
        groups = [self._named.setdefault(job_id, set()) for job_id in watcher.where.job_ids] or [self._open]
        for group in (self._watchers, *groups):
            group.add(watcher)
        self._wake.set()
        try:
            yield
        finally:
            for group in (self._watchers, *groups):
                group.discard(watcher)
            for job_id in watcher.where.job_ids:
                if not self._named.get(job_id, True):
                    del self._named[job_id]

    async def _snapshot(self, watcher: Watcher) -> AsyncIterator[Snapshot]:
        if watcher.where.job_ids:
            for job in await watcher.named_jobs(self._jobs):
                if watcher.where.matches(job):
                    yield watcher.snapshot(job)
            return
        token = ""
        while True:
            page = await self._jobs.list_jobs(watcher.where, page_size=SNAPSHOT_PAGE, page_token=token)
            for job in page.items:
                yield watcher.snapshot(job)
            token = page.next_token
            if not token:
                return
            self._stopping.check()

    async def _follow(self, watcher: Watcher) -> AsyncIterator[Happening]:
        loop = asyncio.get_running_loop()
        next_heartbeat = loop.time() + self._heartbeat_s
        while not watcher.done:
            self._stopping.check()
            if changes := await self._changes_behind(watcher.cursor):
                for change in changes:
                    watcher.cursor = change.sequence
                    if watcher.tells(change):
                        yield StateChanged(watcher.cursor, change)
                        self._stopping.check()
                continue
            if (job := watcher.take_progress()) is not None:
                yield Progress(watcher.cursor, job)
            elif (job_id := watcher.take_deleted()) is not None:
                yield Deleted(watcher.cursor, job_id)
            elif loop.time() >= next_heartbeat:
                yield Heartbeat(watcher.cursor)
            else:
                await self._stopping.wait(watcher.wake, next_heartbeat - loop.time())
                continue
            next_heartbeat = loop.time() + self._heartbeat_s

    async def _changes_behind(self, cursor: int) -> list[StateChange]:
        if self._sequence is None or cursor < self._kept_after:
            # Before the hub's first read nothing is known to be missing, except behind a sequence to resume from;
            # asking the store is right in both cases.
            return await self._events.state_changes(cursor, limit=CHANGES_AT_ONCE)
        if cursor >= self._sequence:
            return []
        first = bisect.bisect_right(self._changes, cursor, key=lambda change: change.sequence)
        return self._changes[first : first + CHANGES_AT_ONCE]
