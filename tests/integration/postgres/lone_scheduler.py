"""A scheduler on real stores whose steps a test takes by hand; its one server only remembers what it was given."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from types import SimpleNamespace
from typing import Any, cast

from lorax_batch_scheduler.chunk import CHAT, Chunk
from lorax_batch_scheduler.clock import SystemClock
from lorax_batch_scheduler.dataset import ChunkKind
from lorax_batch_scheduler.fleet import ServerState
from lorax_batch_scheduler.objects.directory import DirectoryObjectStore
from lorax_batch_scheduler.packing import ServerView
from lorax_batch_scheduler.ports import LeasedChunk
from lorax_batch_scheduler.scheduling.chunk_loader import ChunkLoader
from lorax_batch_scheduler.scheduling.finaliser import Finaliser
from lorax_batch_scheduler.scheduling.fleet import Fleet
from lorax_batch_scheduler.scheduling.job_traces import JobTraces
from lorax_batch_scheduler.scheduling.lease_keeper import LeaseKeeper
from lorax_batch_scheduler.scheduling.scheduler import Scheduler
from lorax_batch_scheduler.telemetry.tracing import NoTracer
from lorax_batch_scheduler.work import ChunkWork

from tests.integration.postgres.conftest import LEASE, Stores


@dataclass
class RememberingRunner:
    """A runner that sends nothing."""

    given: list[ChunkWork] = field(default_factory=list)
    given_up: list[ChunkWork] = field(default_factory=list)

    def give(self, work: ChunkWork) -> None:
        self.given.append(work)

    def give_up(self, work: ChunkWork) -> None:
        self.given_up.append(work)

    def withdraw(self, job_id: str) -> None:
        pass

    def job_activity(self, job_id: str) -> tuple[int, int]:
        return (0, 0)


class OneServer(Fleet):
    """A fleet of one ready server."""

    def __init__(self, runner: RememberingRunner, base_model_id: str) -> None:
        super().__init__([], make_watch=cast("Any", None), clock=SystemClock())
        self._runner = runner
        self._base_model_id = base_model_id

    @property
    def runners(self) -> list[Any]:
        return [self._runner]

    def runner_of(self, server_id: str) -> Any:
        return self._runner

    def views(self, book: object) -> tuple[ServerView, ...]:
        return (
            ServerView(
                server_id="server",
                state=ServerState.READY,
                reason="",
                base_model_id=self._base_model_id,
                wanted_rows=1_000,
                load=0.0,
                working_on=frozenset(),
                warm=frozenset(),
            ),
        )


class MadeUpChunks(ChunkLoader):
    """Chunks as the dataset of `ready_dataset` would hold them."""

    def __init__(self) -> None:
        pass

    async def load(self, lease: LeasedChunk) -> Chunk:
        count = lease.row_count
        return Chunk(
            endpoint=CHAT,
            model=lease.model,
            adapter_source="",
            lines=list(range(1, count + 1)),
            custom_ids=[b'"row-%d"' % row for row in range(count)],
            prompt_tokens=[1] * count,
            max_tokens=[1] * count,
            schemas=[0] * count,
            tails=[b"}"] * count,
        )


@dataclass
class LoneScheduler:
    """A scheduler that runs only as far as the test says."""

    scheduler: Scheduler
    runner: RememberingRunner
    finaliser: Finaliser
    stores: Stores
    leases: Any

    @property
    def name(self) -> str:
        return self.scheduler._keeper.scheduler_id

    async def tick(self) -> None:
        """Do what one round of the scheduler's loop does, and commit."""
        for job in await self.stores.jobs.unfinished_jobs():
            self.scheduler._heard(job.job_id)
            known = self.scheduler._book.get(job.job_id)
            if known is not None:
                known.left_is_stale = True
        await self.scheduler._tick()
        await self.commit()

    async def commit(self) -> None:
        await self.scheduler.committer._commit()

    async def lose_lease(self, other: str = "other") -> None:
        """Let another scheduler declare this one dead, and take no notice yet."""
        async with self.stores.database.connection() as connection:
            await connection.execute(
                "UPDATE schedulers SET lease_until = now() - interval '1 s' WHERE scheduler_id = $1", self.name
            )
        await self.stores.leases.register_scheduler(other, LEASE, exclusive=False)
        await self.stores.leases.renew_scheduler(other, LEASE)


async def lone_scheduler(
    stores: Stores, objects: DirectoryObjectStore, *, leases: object | None = None
) -> LoneScheduler:
    """Return a registered scheduler; `leases` stands in for the real lease store."""
    names = iter(f"s{number}" for number in range(1, 100))
    runner = RememberingRunner()
    kept: list[Finaliser] = []
    store = cast("Any", leases or stores.leases)

    def make_finaliser(committer: Any) -> Finaliser:
        kept.append(
            Finaliser(
                leases=store,
                results=stores.results,
                objects=objects,
                loader=MadeUpChunks(),
                committer=committer,
            )
        )
        return kept[0]

    keeper = LeaseKeeper(leases=store, new_id=lambda: next(names), clock=SystemClock(), exclusive=False)
    scheduler = Scheduler(
        jobs=stores.jobs,
        events=stores.jobs,
        leases=store,
        keeper=keeper,
        loader=MadeUpChunks(),
        make_finaliser=make_finaliser,
        clock=SystemClock(),
        exclusive=False,
        commit_interval=timedelta(seconds=60),
        traces=JobTraces(NoTracer(), stores.datasets, SystemClock()),
    )
    scheduler.use(OneServer(runner, "mistral-7b"), elsewhere=tuple)
    await keeper.register()
    return LoneScheduler(scheduler, runner, kept[0], stores, store)


def with_methods(real: object, **methods: object) -> Any:
    """Return the real store with some methods replaced."""
    names = [name for name in dir(real) if not name.startswith("_")]
    return SimpleNamespace(**{name: methods.get(name, getattr(real, name)) for name in names})


async def claim_all(stores: Stores, name: str, adapters: Sequence[int] = (0,)) -> list[LeasedChunk]:
    """Lease the chunks of these adapters."""
    return [
        lease
        for adapter in adapters
        for lease in await stores.leases.claim_chunks(name, "job_1", ChunkKind.ROWS, f"adapter-{adapter}", 10)
    ]
