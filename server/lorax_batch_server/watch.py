"""Tells callers what happens to jobs: one task reads the stores, every watcher reads from it."""

import asyncio
import bisect
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Final

import structlog
from lorax_batch_scheduler.errors import DatabaseError, SequenceTooOldError
from lorax_batch_scheduler.job import Job, JobFilter, StateChange
from lorax_batch_scheduler.ports import EventStore, JobStore

from lorax_batch_server.stopping import Stopping
from lorax_batch_server.stored_changes import StoredChanges
from lorax_batch_server.watcher import Happening, Heartbeat, Progress, Snapshot, Watcher, told

MIN_PROGRESS_INTERVAL_S: Final = 0.25
PROGRESS_MESSAGES_PER_SECOND: Final = 2_000
"""A message costs about 50 us of the loop: this is a tenth of a core."""
MAX_KEPT_CHANGES: Final = 2_000
"""State changes kept in memory; a watcher that is further behind reads the store."""
KEPT_PAGES: Final = 4
"""Pages of state changes that watchers who are behind share; each is about 1 MiB."""
CHANGES_AT_ONCE: Final = 500
SNAPSHOT_PAGE: Final = 50
"""Jobs that a watcher who stops reading its snapshot keeps in memory."""
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
        self._behind = StoredChanges(events, page_size=CHANGES_AT_ONCE, kept_pages=KEPT_PAGES)
        self._kept_after = 0
        """Every state change behind this sequence is in `_changes`."""
        self._sequence: int | None = None
        """Of the last state change read; None while nobody watches."""
        self._named: dict[str, set[Watcher]] = {}
        self._open: set[Watcher] = set()
        """Watchers of a filter."""
        self._watchers: set[Watcher] = set()
        self._told = 0
        """Messages of the last progress."""

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
        time = asyncio.get_running_loop().time
        next_progress = time()
        try:
            while True:
                due = bool(self._changed) and time() >= next_progress
                try:
                    await self._pass(with_progress=due)
                except (DatabaseError, SequenceTooOldError) as error:
                    # Too old: watchers that are behind find out themselves, the others begin with what comes next.
                    if isinstance(error, SequenceTooOldError):
                        self._forget()
                    _log.warning("watch_read_failed", error=str(error), retry_s=RETRY_S)
                    await asyncio.sleep(RETRY_S)
                    continue
                if due:
                    next_progress = time() + max(self._progress_interval_s, self._told / PROGRESS_MESSAGES_PER_SECOND)
                await self._wait(min(self._poll_s, next_progress - time()) if self._changed else self._poll_s)
        finally:
            stop_listening()

    def _on_change(self, job_id: str) -> None:
        if self._watchers:
            self._changed.add(job_id)
            self._wake.set()

    async def _wait(self, timeout_s: float) -> None:
        try:
            async with asyncio.timeout(max(timeout_s, 0)):
                await self._wake.wait()
        except TimeoutError:
            pass
        self._wake.clear()

    async def _pass(self, *, with_progress: bool) -> None:
        if not self._watchers:
            self._forget()
            return
        # Jobs first: so the state changes read after them include the one that each job is in.
        taken, self._changed = (self._changed, set[str]()) if with_progress else (set[str](), self._changed)
        try:
            jobs = await self._read_jobs(taken) if taken else []
            changes = await self._read_changes()
        except DatabaseError:
            self._changed |= taken
            raise
        self._publish_changes(changes)
        self._publish_progress(jobs, {change.job_id: change.sequence for change in changes})

    def _forget(self) -> None:
        self._sequence = None
        self._changes.clear()
        self._changed.clear()

    async def _read_jobs(self, changed: set[str]) -> list[Job]:
        """Return the jobs that changed and that somebody watches; "" among them: all may have changed."""
        unfinished: list[Job] = []
        wanted = changed if self._open else changed & self._named.keys()
        if "" in changed:
            wanted = changed | self._named.keys()
            unfinished = await self._jobs.unfinished_jobs() if self._open else []
        wanted = wanted - {""} - {job.job_id for job in unfinished}
        return [*unfinished, *(await self._jobs.get_jobs(sorted(wanted)) if wanted else [])]

    async def _read_changes(self) -> list[StateChange]:
        if self._sequence is None:
            self._sequence = self._kept_after = await self._events.latest_sequence()
            for watcher in self._watchers:
                watcher.wake.set()
            return []
        changes: list[StateChange] = []
        after = self._sequence
        while True:
            some = await self._events.state_changes(after, limit=CHANGES_AT_ONCE)
            changes.extend(some)
            if len(some) < CHANGES_AT_ONCE:
                return changes
            after = some[-1].sequence

    def _publish_changes(self, changes: list[StateChange]) -> None:
        # No await here: watchers see all of it or nothing.
        if not changes:
            return
        before, self._sequence = self._sequence, changes[-1].sequence
        self._changes.extend(changes)
        if len(self._changes) > 2 * MAX_KEPT_CHANGES:
            self._kept_after = self._changes[-MAX_KEPT_CHANGES - 1].sequence
            del self._changes[:-MAX_KEPT_CHANGES]
        concerned: set[Watcher] = set()
        for change in changes:
            for watcher in self._concerned(change.job_id):
                watcher.drop_progress(change.job_id)
                concerned.add(watcher)
        for watcher in self._watchers:
            if watcher in concerned:
                watcher.wake.set()
            elif watcher.cursor == before:
                # It had passed everything, and nothing of this is its own: no need to wake it.
                watcher.cursor = self._sequence

    def _publish_progress(self, jobs: list[Job], moved: dict[str, int]) -> None:
        self._told = 0
        for job in jobs:
            if job.state.terminal or job.sequence < moved.get(job.job_id, 0):
                continue  # The state change tells these counts, or newer ones.
            for watcher in self._concerned(job.job_id):
                if watcher.where.matches(job):
                    watcher.put_progress(job)
                    self._told += 1

    def _concerned(self, job_id: str) -> Iterator[Watcher]:
        yield from self._open
        yield from self._named.get(job_id, ())

    # --- what a watcher reads -------------------------------------------------------------------------------------

    async def watch(self, where: JobFilter, after: int | None) -> AsyncIterator[Happening]:
        """Yield what happens to the selected jobs: from a snapshot, or everything behind a sequence.

        Raises:
            NotFoundError: a named job does not exist.
            SequenceTooOldError: the state changes behind `after` are no longer kept.
            SequenceAheadError: `after` lies ahead of everything that has happened.
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
                snapshot = watcher.snapshot(job)
                if watcher.where.matches(job):
                    yield snapshot
            return
        token = ""
        while True:
            page = await self._jobs.list_jobs(watcher.where, page_size=SNAPSHOT_PAGE, page_token=token)
            for job in page.items:
                yield watcher.snapshot(job)
                self._stopping.check()
            token = page.next_token
            if not token:
                return

    async def _follow(self, watcher: Watcher) -> AsyncIterator[Happening]:
        time = asyncio.get_running_loop().time
        next_heartbeat = time() + self._heartbeat_s
        while True:
            self._stopping.check()
            # One at a time: a watcher that waits for its caller must not keep more of them in memory.
            if (change := await self._change_behind(watcher)) is not None:
                if watcher.passes(change):
                    yield told(change)
                continue
            if watcher.done:
                return
            if (job := watcher.take_progress()) is not None:
                yield Progress(watcher.cursor, job)
            elif time() >= next_heartbeat:
                yield Heartbeat(watcher.cursor)
            else:
                await self._stopping.wait(watcher.wake, next_heartbeat - time())
                continue
            next_heartbeat = time() + self._heartbeat_s

    async def _change_behind(self, watcher: Watcher) -> StateChange | None:
        """Return the next state change of any job."""
        cursor = watcher.cursor
        if self._sequence is None or cursor < max(self._kept_after, watcher.behind_until):
            return await self._behind.next(cursor)
        if cursor >= self._sequence:
            return None
        return self._changes[bisect.bisect_right(self._changes, cursor, key=lambda change: change.sequence)]
