"""The scheduler: keeps servers busy with the rows of jobs, and brings every job to its end."""

import asyncio
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Final

import structlog

from lorax_batch_scheduler.chunk_loader import ChunkLoader
from lorax_batch_scheduler.clock import Clock
from lorax_batch_scheduler.committer import Committed, Committer
from lorax_batch_scheduler.errors import DatabaseError, NotFoundError, ObjectNotFoundError, StateConflictError
from lorax_batch_scheduler.finaliser import Finaliser
from lorax_batch_scheduler.fleet import ServerState, ServerStatus, Slot
from lorax_batch_scheduler.job import RUNNABLE_STATES, JobEvent, JobState
from lorax_batch_scheduler.job_book import JobBook, KnownJob
from lorax_batch_scheduler.job_care import due_move
from lorax_batch_scheduler.job_ending import JobEnding
from lorax_batch_scheduler.lease_keeper import LeaseKeeper
from lorax_batch_scheduler.packing import ExplainWait, GiveChunks, ServerView, Snapshot, gives, plan, waits
from lorax_batch_scheduler.ports.job_store import EventStore, JobStore
from lorax_batch_scheduler.ports.lease import JobActivity
from lorax_batch_scheduler.ports.lease_store import LeaseStore
from lorax_batch_scheduler.slot_watch import SlotWatch, close_all
from lorax_batch_scheduler.work import ChunkWork
from lorax_batch_scheduler.work_supply import WorkSupply

POLL_INTERVAL_S: Final = 1.0
"""Deadlines and lost wake-ups are noticed this late."""
FULL_READ_INTERVAL_S: Final = 15.0
LEFT_INTERVAL_S: Final = 2.0
"""How often a job that seems to have nothing left is asked about anew: another process may have given chunks back."""
AFTER_ERROR_S: Final = 0.5

_log = structlog.get_logger()


class Scheduler:
    """Runs the rows of all jobs on the servers of this process's slots."""

    def __init__(
        self,
        *,
        jobs: JobStore,
        events: EventStore,
        leases: LeaseStore,
        loader: ChunkLoader,
        make_finaliser: Callable[[Committer], Finaliser],
        clock: Clock,
        new_id: Callable[[], str],
        exclusive: bool,
        commit_interval: timedelta,
    ) -> None:
        self._jobs = jobs
        self._events = events
        self._leases = leases
        self._clock = clock
        self._book = JobBook()
        self._keeper = LeaseKeeper(
            leases=leases, new_id=new_id, clock=clock, on_lost=self._lease_lost, exclusive=exclusive
        )
        self.committer = Committer(
            leases=leases,
            scheduler_id=lambda: self._keeper.scheduler_id,
            interval=commit_interval,
            clock=clock,
            activity=self._activity,
            on_commit=self._committed,
        )
        self._supply = WorkSupply(
            jobs=jobs,
            leases=leases,
            loader=loader,
            committer=self.committer,
            scheduler_id=lambda: self._keeper.scheduler_id,
            clock=clock,
        )
        self._ending = JobEnding(
            finaliser=make_finaliser(self.committer),
            committer=self.committer,
            scheduler_id=lambda: self._keeper.scheduler_id,
            clock=clock,
            on_change=self._heard,
        )
        self._watches: list[SlotWatch] = []
        self._changed: set[str] = {""}
        self._returned: list[ChunkWork] = []
        self._wake = asyncio.Event()
        self._stop = asyncio.Event()
        self._stopping = False
        self._claims_are_certain = True
        self._grace_s = 0.0
        self._read_all_at = 0.0
        self._left_read_at: dict[str, float] = {}

    # --- what others call ---

    def watch(self, watches: Sequence[SlotWatch]) -> None:
        """Say which slots there are; before `run`."""
        self._watches = list(watches)

    def slots(self) -> list[Slot]:
        """Return the slots of this process."""
        return [watch.slot for watch in self._watches]

    def servers(self) -> list[ServerStatus]:
        """Return how the servers are."""
        return [watch.status() for watch in self._watches]

    def wake(self) -> None:
        """Something may be there to do."""
        self._wake.set()

    def returned(self, work: ChunkWork) -> None:
        """Take back a chunk that a runner will not go on with; see `RowRunner.withdraw`."""
        self._returned.append(work)
        self._wake.set()

    async def stop(self, grace_s: float) -> None:
        """Claim nothing more, let rows in flight end for so long, hand the rest back; `run` then returns."""
        self._stopping, self._grace_s = True, grace_s
        self._stop.set()

    async def run(self) -> None:
        """Schedule until `stop`."""
        await self._keeper.register()
        stop_hearing = self._events.on_change(self._heard)
        try:
            async with asyncio.TaskGroup() as group:
                loop = group.create_task(self._loop())
                others = [
                    group.create_task(coroutine)
                    for coroutine in (
                        self.committer.run(),
                        self._keeper.run(),
                        self._ending.run(),
                        *(watch.run() for watch in self._watches),
                    )
                ]
                await self._stop.wait()
                loop.cancel()
                await asyncio.wait([loop])
                await self._hand_back()
                for task in others:
                    task.cancel()
        finally:
            stop_hearing()

    async def _hand_back(self) -> None:
        for watch in self._watches:
            if watch.runner is not None:
                watch.runner.drain()
        await close_all(self._watches, self._grace_s)
        self._take_returned()
        try:
            async with asyncio.timeout(max(self._grace_s, 1.0)):
                await self.committer.flush()
                await self._leases.unregister_scheduler(self._keeper.scheduler_id)
        except (TimeoutError, DatabaseError) as error:
            _log.warning("leases_not_handed_back", error=repr(error))

    # --- the loop ---

    async def _loop(self) -> None:
        while True:
            try:
                async with asyncio.timeout(POLL_INTERVAL_S):
                    await self._wake.wait()
            except TimeoutError:
                pass
            self._wake.clear()
            try:
                await self._tick()
            except* DatabaseError as errors:
                _log.warning("scheduler_waits_for_database", error=str(errors.exceptions[0]))
                self._changed.add("")
                self._claims_are_certain = False
                await self._clock.sleep(AFTER_ERROR_S)

    async def _tick(self) -> None:
        await self._read_jobs()
        for known in self._book:
            due = due_move(known.job, self._clock.now())
            if due is not None:
                await self._move(known, *due)
        self._ending.start(self._book.settling)
        self._take_returned()
        await self._release_forgotten()
        await self._read_left()
        await self._supply_rows()

    async def _release_forgotten(self) -> None:
        """Give back what a claim has leased whose answer was lost: nobody would ever run it."""
        if self._claims_are_certain:
            return
        await self.committer.flush()
        known = [work.lease for known in self._book for work in known.works.values()]
        await self._leases.release_forgotten(self._keeper.scheduler_id, known)
        self._claims_are_certain = True
        for job in self._book.runnable:
            job.left_is_stale = True

    def _heard(self, job_id: str) -> None:
        self._changed.add(job_id)
        self._wake.set()

    async def _read_jobs(self) -> None:
        """Learn what has changed: everything now and then, else only the jobs we heard of."""
        now = self._clock.monotonic()
        if now - self._read_all_at > FULL_READ_INTERVAL_S:
            self._changed.add("")
        changed, self._changed = self._changed, set()
        if "" in changed:
            unfinished = await self._jobs.unfinished_jobs()
            gone = self._book.keep_only(job.job_id for job in unfinished)
            self._read_all_at = now
        elif changed:
            found = {job.job_id: job for job in await self._jobs.get_jobs(sorted(changed))}
            unfinished = [job for job in found.values() if not job.state.terminal]
            alive = {job.job_id for job in unfinished}
            gone = [known for job_id in changed - alive if (known := self._book.forget(job_id))]
        else:
            return
        for known in gone:
            self._withdraw(known)
            await self._leases.clear_activity(self._keeper.scheduler_id, [known.job.job_id])
        before = {known.job.job_id: known.job.state for known in self._book}
        self._book.update(unfinished, now)
        for job in unfinished:
            known_job = self._book.get(job.job_id)
            if known_job and before.get(job.job_id) in RUNNABLE_STATES and job.state not in RUNNABLE_STATES:
                self._withdraw(known_job)

    async def _read_left(self) -> None:
        """Read what is left of the jobs of which we do not know it."""
        now = self._clock.monotonic()
        stale = [
            known
            for known in self._book.runnable
            if known.left_is_stale
            or (not known.left and now - self._left_read_at.get(known.job.job_id, 0.0) > LEFT_INTERVAL_S)
        ]
        if not stale:
            return
        for known in stale:
            known.forget_left()
            self._left_read_at[known.job.job_id] = now
        for left in await self._leases.rows_left([known.job.job_id for known in stale]):
            known_job = self._book.get(left.job_id)
            if known_job is not None:
                known_job.learn_left(left)

    async def _supply_rows(self) -> None:
        for known in self._book.runnable:
            if known.invalid_left:
                await self._settle_invalid(known)
        jobs = self._book.waiting_jobs(self._clock.monotonic())
        actions = plan(Snapshot(jobs=jobs, servers=tuple(self._server_view(watch) for watch in self._watches)))
        await self._assign(list(gives(actions)))
        async with asyncio.TaskGroup() as group:
            for action in gives(actions):
                group.create_task(self._give(action))
        for known in self._book.runnable:
            if known.works and known.job.state is JobState.STARTING:
                await self._move(known, JobEvent.START)
        await self._explain(list(waits(actions)))

    async def _settle_invalid(self, known: KnownJob) -> None:
        try:
            await self._supply.settle_invalid(known)
        except ObjectNotFoundError as error:
            await self._move(known, JobEvent.ABORT, f"its dataset is damaged: {error}")

    async def _assign(self, given: list[GiveChunks]) -> None:
        """Tell callers which server was chosen for a job that waited."""
        for action in given:
            known = self._book.get(action.job_id)
            if known is not None and known.job.state is JobState.QUEUED:
                url = next(watch.slot.url for watch in self._watches if watch.server_id == action.server_id)
                await self._move(known, JobEvent.ASSIGN, f"server {url} was chosen")

    def _server_view(self, watch: SlotWatch) -> ServerView:
        status, runner = watch.status(), watch.runner
        wanted = 0
        if runner is not None and runner.wants_work:
            wanted = max(runner.look_ahead_rows - runner.queued_rows, 0)
        queued = runner.queued_rows if runner is not None else 0
        return ServerView(
            server_id=status.server_id,
            url=status.slot.url,
            state=status.state,
            reason=status.reason,
            base_model_id=status.base_model_id,
            wanted_rows=wanted,
            load=(queued + status.in_flight) / max(status.in_flight_limit, 1),
            working_on=frozenset(
                work.adapter
                for known in self._book
                for work in known.works.values()
                if work.server_id == watch.server_id
            ),
            warm=frozenset(status.warm_adapters),
        )

    async def _give(self, action: GiveChunks) -> None:
        known = self._book.get(action.job_id)
        watch = next(watch for watch in self._watches if watch.server_id == action.server_id)
        if known is None or watch.runner is None or known.job.state not in RUNNABLE_STATES:
            return
        try:
            await self._supply.give(known, watch.runner, watch.server_id, action.model, action.chunk_count)
        except ObjectNotFoundError as error:
            await self._move(known, JobEvent.ABORT, f"its dataset is damaged: {error}")

    async def _explain(self, waiting: list[ExplainWait]) -> None:
        reasons: dict[str, str] = {}
        for wait in waiting:
            known = self._book.get(wait.job_id)
            if known is None:
                continue
            counts = known.job.counts
            if known.job.state is JobState.QUEUED:
                if known.job.reason != wait.reason:
                    reasons[wait.job_id] = wait.reason
            elif wait.stranded and not known.works and not counts.in_flight and not counts.retrying:
                await self._move(known, JobEvent.REQUEUE, wait.reason)
        await self._jobs.explain_jobs(reasons)

    async def _move(self, known: KnownJob, event: JobEvent, reason: str = "") -> None:
        """Move a job; when somebody else moved it meanwhile, read it again."""
        before = known.job.state
        try:
            known.job = await self._jobs.move_job(known.job.job_id, event, reason=reason)
        except (StateConflictError, NotFoundError) as error:
            _log.info("job_moved_meanwhile", job_id=known.job.job_id, wanted=event, error=str(error))
            self._heard(known.job.job_id)
            return
        _log.info("job_moved", job_id=known.job.job_id, before=before, state=known.job.state, reason=reason)
        if before in RUNNABLE_STATES and known.job.state not in RUNNABLE_STATES:
            self._withdraw(known)

    # --- chunks that come back ---

    def _withdraw(self, known: KnownJob) -> None:
        for watch in self._watches:
            if watch.runner is not None:
                watch.runner.withdraw(known.job.job_id)

    def _take_returned(self) -> None:
        """Give returned chunks to another server of the family, or their leases back."""
        returned, self._returned = self._returned, []
        for work in returned:
            known = self._book.get(work.job_id)
            watch = self._other_server(work, known) if known is not None else None
            if watch is not None and watch.runner is not None:
                work.withdrawn = False
                work.server_id = watch.server_id
                watch.runner.give(work)
                continue
            if known is not None:
                known.take_back(work.lease.chunk_no)
            self.committer.release(work.lease)

    def _other_server(self, work: ChunkWork, known: KnownJob) -> SlotWatch | None:
        """Choose the least loaded ready server for a chunk, rather another than the one that returned it."""
        if self._stopping or known.job.state not in RUNNABLE_STATES:
            return None
        views = [
            (watch.server_id in work.refused_by, watch.server_id == work.server_id, view.load, watch.server_id, watch)
            for watch in self._watches
            if (view := self._server_view(watch)).base_model_id == known.job.base_model_id
            and view.state is ServerState.READY
        ]
        return min(views, key=lambda view: view[:4])[4] if views else None

    def _committed(self, committed: Committed) -> None:
        now = self._clock.monotonic()
        for job_id, rows in committed.rows.items():
            known = self._book.get(job_id)
            if known is not None:
                known.rows.add(rows, now)
                known.tokens.add(committed.tokens.get(job_id, 0), now)
        for lease in committed.leases:
            known = self._book.get(lease.job_id)
            if known is not None and lease.done.bit_count() == lease.row_count:
                known.take_back(lease.chunk_no)
        for lease in (*committed.lost, *committed.released):
            known = self._book.get(lease.job_id)
            if known is not None:
                known.left_is_stale = True
        for lease in committed.lost:
            self._drop(lease.job_id, lease.chunk_no, lease.epoch)
        for job_id in committed.complete_jobs:
            self._changed.add(job_id)
        self._wake.set()

    def _drop(self, job_id: str, chunk_no: int, epoch: int) -> None:
        """Somebody else runs this chunk now: send no more of its rows."""
        _log.warning("chunk_lost", job_id=job_id, chunk=chunk_no, epoch=epoch)
        known = self._book.get(job_id)
        work = known.works.get(chunk_no) if known is not None else None
        if known is not None and work is not None and work.lease.epoch == epoch:
            work.withdrawn = True
            known.take_back(chunk_no)

    def _lease_lost(self) -> None:
        for known in self._book:
            self._withdraw(known)
            for work in list(known.works.values()):
                work.withdrawn = True
                known.take_back(work.lease.chunk_no)
            known.left_is_stale = True
        self._wake.set()

    def _activity(self) -> list[JobActivity]:
        """Return what this process does for each job that it has given rows of."""
        now = self._clock.monotonic()
        found = []
        for known in self._book:
            if not known.was_given:
                continue
            counted = [
                watch.runner.job_activity(known.job.job_id) for watch in self._watches if watch.runner is not None
            ]
            found.append(
                JobActivity(
                    job_id=known.job.job_id,
                    in_flight=sum(in_flight for in_flight, _ in counted),
                    retrying=sum(retrying for _, retrying in counted),
                    rows_per_second=round(known.rows.per_second(now), 2),
                    tokens_per_second=round(known.tokens.per_second(now), 1),
                )
            )
        return found
