"""The scheduler: keeps servers busy with the rows of jobs, and brings every job to its end."""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

import structlog

from lorax_batch_scheduler.clock import Clock
from lorax_batch_scheduler.errors import DatabaseError, NotFoundError, ObjectNotFoundError, StateConflictError
from lorax_batch_scheduler.failpoints import failpoint
from lorax_batch_scheduler.job import RUNNABLE_STATES, JobEvent, JobState
from lorax_batch_scheduler.packing import GiveChunks, ServerView, Snapshot, give, gives, waits
from lorax_batch_scheduler.ports.job_store import EventStore, JobStore
from lorax_batch_scheduler.ports.lease_store import LeaseStore
from lorax_batch_scheduler.scheduling.chunk_loader import ChunkLoader
from lorax_batch_scheduler.scheduling.commit_follower import CommitFollower
from lorax_batch_scheduler.scheduling.committer import Committed, Committer
from lorax_batch_scheduler.scheduling.finaliser import Finaliser
from lorax_batch_scheduler.scheduling.fleet import Fleet
from lorax_batch_scheduler.scheduling.handover import Handover
from lorax_batch_scheduler.scheduling.job_book import JobBook, KnownJob
from lorax_batch_scheduler.scheduling.job_care import due_move
from lorax_batch_scheduler.scheduling.job_ending import JobEnding
from lorax_batch_scheduler.scheduling.job_reader import JobReader
from lorax_batch_scheduler.scheduling.job_traces import JobTraces
from lorax_batch_scheduler.scheduling.learner import Learner
from lorax_batch_scheduler.scheduling.lease_keeper import LeaseKeeper
from lorax_batch_scheduler.scheduling.placer import Placer
from lorax_batch_scheduler.scheduling.unfit_jobs import UnfitJobs
from lorax_batch_scheduler.scheduling.wait_reasons import WaitReasons
from lorax_batch_scheduler.scheduling.work_supply import WorkSupply
from lorax_batch_scheduler.telemetry.tally import Tally
from lorax_batch_scheduler.work import ChunkWork

POLL_INTERVAL_S: Final = 1.0
"""Deadlines and lost wake-ups are noticed this late."""
AFTER_ERROR_S: Final = 0.5
HAND_BACK_S: Final = 10.0
"""How long a shutdown tries to commit the last results and to give the leases back, once no row is in flight."""
RECONCILE_INTERVAL_S: Final = 15.0
"""A claim whose answer was lost may reach PostgreSQL even after its lease was given back: look again this often."""

RefreshNeeds = Callable[[list[KnownJob]], None]

_log = structlog.get_logger()


class Scheduler:
    """Runs the rows of all jobs on the servers of this process's slots."""

    def __init__(
        self,
        *,
        jobs: JobStore,
        events: EventStore,
        leases: LeaseStore,
        keeper: LeaseKeeper,
        loader: ChunkLoader,
        make_finaliser: Callable[[Committer], Finaliser],
        clock: Clock,
        exclusive: bool,
        commit_interval: timedelta,
        traces: JobTraces,
        tally: Tally | None = None,
    ) -> None:
        self._jobs = jobs
        self._events = events
        self._leases = leases
        self._clock = clock
        self._book = JobBook()
        self._keeper = keeper
        keeper.on_lost(self._lease_lost)
        self.committer = Committer(
            leases=leases,
            scheduler_id=lambda: self._keeper.scheduler_id,
            sure_until=lambda: self._keeper.sure_until,
            interval=commit_interval,
            clock=clock,
            activity=lambda: self._follower.activity(),
            on_commit=self._committed,
            tally=tally,
        )
        self._follower = CommitFollower(
            book=self._book,
            fleet=lambda: self._fleet,
            release=self.committer.release,
            on_complete=lambda job_id: self._reader.hear(job_id),
            clock=clock,
            traces=traces,
        )
        self._handover = Handover(book=self._book, fleet=lambda: self._fleet, release=self.committer.release)
        self._supply = WorkSupply(
            jobs=jobs,
            leases=leases,
            loader=loader,
            committer=self.committer,
            scheduler_id=lambda: self._keeper.scheduler_id,
            clock=clock,
            traces=traces,
        )
        self._ending = JobEnding(
            finaliser=make_finaliser(self.committer),
            committer=self.committer,
            scheduler_id=lambda: self._keeper.scheduler_id,
            clock=clock,
            traces=traces,
            on_change=self._heard,
        )
        self._reasons = WaitReasons(jobs=jobs, clock=clock, exclusive=exclusive)
        self._reader = JobReader(
            jobs=jobs,
            leases=leases,
            book=self._book,
            clock=clock,
            scheduler_id=lambda: self._keeper.scheduler_id,
            on_stopped=lambda job_id: self._fleet.withdraw(job_id),
            refresh_needs=lambda jobs: self._refresh_needs(jobs),
        )
        self._fleet = Fleet.empty(clock)
        self._placer: Placer | None = None
        self._unfit: UnfitJobs | None = None
        self._refresh_needs: RefreshNeeds = lambda jobs: None
        self._placed_for: frozenset[tuple[str, int, datetime | None]] = frozenset()
        self._elsewhere: Callable[[], Sequence[ServerView]] = tuple
        self._wake = asyncio.Event()
        self._stop = asyncio.Event()
        self._hurry = asyncio.Event()
        self._stopping = False
        self._claims_are_certain = True
        self._reconciled_at = clock.monotonic()
        self._grace_s = 0.0

    # --- what others call ---

    @property
    def book(self) -> JobBook:
        """The unfinished jobs, as this process knows them."""
        return self._book

    def use(
        self,
        fleet: Fleet,
        *,
        elsewhere: Callable[[], Sequence[ServerView]],
        placer: Placer | None = None,
        learner: Learner | None = None,
        unfit: UnfitJobs | None = None,
        refresh_needs: RefreshNeeds = lambda jobs: None,
    ) -> None:
        """Say which servers there are, here and at other schedulers, who starts them, for whom in vain, who learns.

        Before `run`. `refresh_needs`: sets what limits a server must have for the rows of jobs.
        """
        self._fleet, self._elsewhere, self._placer, self._unfit = fleet, elsewhere, placer, unfit
        self._refresh_needs = refresh_needs
        self._follower.learner = learner

    def wake(self) -> None:
        """Something may be there to do."""
        self._wake.set()

    def fleet_changed(self) -> None:
        """A server is new, ready or gone."""
        self._wake.set()
        if self._placer is not None:
            self._placer.wake()

    def returned(self, work: ChunkWork) -> None:
        """Take back a chunk that a runner will not go on with; see `RowRunner.withdraw`."""
        self._handover.returned(work)
        self._wake.set()

    def stop(self, grace_s: float) -> None:
        """Claim nothing more, let rows in flight end for so long, hand the rest back; `run` then returns."""
        self._stopping, self._grace_s = True, grace_s
        self._stop.set()

    def hurry(self) -> None:
        """Wait no longer for rows in flight; what has its answer is still committed, and the rest handed back."""
        self._hurry.set()

    async def run(self) -> None:
        """Schedule until `stop`, under the name that `keeper` has registered."""
        stop_hearing = self._events.on_change(self._heard)
        try:
            async with asyncio.TaskGroup() as group:
                loop = group.create_task(self._loop())
                claiming = [group.create_task(each) for each in (self._keeper.run(), self._ending.run())]
                placing = [group.create_task(self._placer.run())] if self._placer is not None else []
                watching = group.create_task(self._fleet.run())
                committing = group.create_task(self.committer.run())
                await self._stop.wait()
                await _end([loop, *placing])
                await self._let_rows_end()
                # From here on nobody takes or renews a lease, so that what is handed back stays so.
                await _end(claiming)
                await self._hand_back()
                await self._fleet.stop_servers()
                await _end([watching, committing])
        finally:
            stop_hearing()

    async def _let_rows_end(self) -> None:
        """Send no more rows, and wait for those in flight: as long as the grace lasts, or until somebody hurries."""
        async with asyncio.TaskGroup() as group:
            closing = group.create_task(self._fleet.close(self._grace_s))
            hurried = group.create_task(self._hurry.wait())
            await asyncio.wait([closing, hurried], return_when=asyncio.FIRST_COMPLETED)
            await _end([closing, hurried])
        if closing.cancelled():
            await self._fleet.close(0.0)

    @failpoint(before="drain.before_hand_back", after="drain.after_hand_back")
    async def _hand_back(self) -> None:
        self._handover.give_on(stopping=self._stopping)
        try:
            async with asyncio.timeout(HAND_BACK_S):
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
                self._reader.hear("")
                self._claims_are_certain = False
                await self._clock.sleep(AFTER_ERROR_S)

    async def _tick(self) -> None:
        await self._reader.read_jobs()
        for known in self._book:
            due = due_move(known.job, self._clock.now())
            if due is not None:
                await self._move(known, *due)
        jobs = (known.job for known in self._book.runnable)
        runnable = frozenset((job.job_id, job.priority, job.deadline) for job in jobs)
        if runnable != self._placed_for and self._placer is not None:
            self._placed_for = runnable
            self._placer.wake()
        self._ending.start(self._book.settling)
        if self._follower.learner is not None:
            self._follower.learner.look(self._fleet, self._book)
        self._handover.give_on(stopping=self._stopping)
        await self._release_forgotten()
        await self._reader.read_left()
        await self._supply_rows()

    async def _release_forgotten(self) -> None:
        """Give back what a claim has leased whose answer was lost: nobody would ever run it."""
        now = self._clock.monotonic()
        if self._claims_are_certain and now - self._reconciled_at < RECONCILE_INTERVAL_S:
            return
        await self.committer.flush()
        known = [work.lease for known in self._book for work in known.works]
        await self._leases.release_forgotten(self._keeper.scheduler_id, known)
        self._claims_are_certain, self._reconciled_at = True, now
        for job in self._book.runnable:
            job.left_is_stale = True

    def _heard(self, job_id: str) -> None:
        self._reader.hear(job_id)
        self._wake.set()

    async def _supply_rows(self) -> None:
        await self._give_up_hopeless()
        for known in self._book.runnable:
            if known.invalid_left:
                await self._settle_invalid(known)
        jobs = self._book.waiting_jobs(self._clock.monotonic())
        servers = self._fleet.views(self._book)
        actions = give(Snapshot(jobs=jobs, servers=servers, elsewhere=(*self._elsewhere(),)))
        given = {action.server_id for action in gives(actions)}
        # A server that is given chunks of its own needs none of others.
        self._handover.share(server for server in servers if server.server_id not in given)
        await self._assign(list(gives(actions)))
        async with asyncio.TaskGroup() as group:
            for action in gives(actions):
                group.create_task(self._give(action))
        for known in self._book.runnable:
            if known.works and known.job.state is JobState.STARTING:
                await self._move(known, JobEvent.START)
        waiting = [(job, wait) for wait in waits(actions) if (job := self._book.get(wait.job_id)) is not None]
        for job, wait in waiting:
            if self._reasons.is_abandoned(job, wait):
                job.told_reason = wait.reason
                await self._move(job, JobEvent.REQUEUE, wait.reason)
        await self._reasons.tell(waiting, self._book.runnable)

    async def _give_up_hopeless(self) -> None:
        """Fail the jobs whose family has failed to start on every kind of slot, again and again, or fits on none."""
        for known in self._book.runnable:
            failed = self._fleet.hopeless(known.waiting_job())
            if failed is not None:
                await self._move(known, JobEvent.ABORT, failed.told(known.job.base_model_id))
        if self._unfit is not None:
            for known in await self._unfit.to_fail(self._book.runnable, self._fleet):
                await self._move(known, JobEvent.ABORT, known.wait_reason)

    async def _settle_invalid(self, known: KnownJob) -> None:
        try:
            await self._supply.settle_invalid(known)
        except ObjectNotFoundError as error:
            await self._move(known, JobEvent.ABORT, f"its dataset is damaged: {error}")

    async def _assign(self, given: list[GiveChunks]) -> None:
        """Tell callers which server was chosen for a job that waited."""
        for action in given:
            known = self._book.get(action.job_id)
            there = self._fleet.runner_of(action.server_id) is not None  # it may have left since
            if known is not None and known.job.state is JobState.QUEUED and there:
                await self._move(known, JobEvent.ASSIGN, f"server {action.server_id} was chosen")

    async def _give(self, action: GiveChunks) -> None:
        known = self._book.get(action.job_id)
        runner = self._fleet.runner_of(action.server_id)
        if known is None or runner is None or known.job.state not in RUNNABLE_STATES:
            return
        try:
            await self._supply.give(known, runner, action.server_id, action.model, action.chunk_count)
        except ObjectNotFoundError as error:
            await self._move(known, JobEvent.ABORT, f"its dataset is damaged: {error}")

    @failpoint(before="run.before_move", after="run.after_move")
    async def _move(self, known: KnownJob, event: JobEvent, reason: str = "") -> None:
        """Move a job; when somebody else moved it meanwhile, read it again."""
        before = known.job.state
        try:
            moved = await self._jobs.move_job(known.job.job_id, event, reason=reason)
            known.take_over(moved, self._clock.monotonic())
        except (StateConflictError, NotFoundError) as error:
            _log.info("job_moved_meanwhile", job_id=known.job.job_id, wanted=event, error=str(error))
            self._heard(known.job.job_id)
            return
        _log.info("job_moved", job_id=known.job.job_id, before=before, state=known.job.state, reason=reason)
        if before in RUNNABLE_STATES and known.job.state not in RUNNABLE_STATES:
            self._fleet.withdraw(known.job.job_id)

    # --- what others tell ---

    def _committed(self, committed: Committed) -> None:
        self._follower.committed(committed)
        self._wake.set()

    def _lease_lost(self) -> None:
        self._follower.lease_lost()
        self._wake.set()


async def _end(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancel tasks and wait until they have ended."""
    ending = list(tasks)
    for task in ending:
        task.cancel()
    if ending:
        await asyncio.wait(ending)
