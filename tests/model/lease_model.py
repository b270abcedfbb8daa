"""The lease and commit protocol: schedulers, the database, callers and all that may go wrong between them.

What a process does between two requests to the database is one step, and so is each request. Which statement a step
stands for is its name in `statements.py`.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from tests.model.canonical import canonical
from tests.model.database import Chunk, Database, Job
from tests.model.defects import Defect
from tests.model.explorer import Step
from tests.model.properties import broken, broken_step, given_up_too_early
from tests.model.running_steps import running_steps
from tests.model.settling_steps import settling_steps
from tests.model.state import Budget, Life, Process, State
from tests.model.surroundings import Surroundings
from tests.model.world_steps import world_steps


@dataclass(frozen=True, kw_only=True)
class LeaseModel:
    """A few schedulers, one job, and a budget of faults."""

    budget: Budget
    processes: int = 2
    chunks: tuple[int, ...] = (2,)
    """How many rows each chunk has."""
    exclusive: bool = False
    """Whether a scheduler that starts is the only one (an embedded database)."""
    max_attempts: int = 2
    """So many schedulers in a row may die while they end a job; the next one ends it without files."""
    small_files: bool = False
    """Whether files are stored in one piece, without uploads."""
    defects: frozenset[Defect] = frozenset()

    def initial(self) -> State:
        chunks = tuple(Chunk(0, rows) for rows in self.chunks)
        return State(
            db=Database((Job(sum(self.chunks)),), chunks),
            processes=tuple(Process() for _ in range(self.processes)),
            budget=self.budget,
            calls_left=tuple((1,) * rows for rows in self.chunks),
        )

    def steps(self, state: State) -> Iterator[Step[State]]:
        around = Surroundings(
            state, self.defects, exclusive=self.exclusive, max_attempts=self.max_attempts, small_files=self.small_files
        )
        yield from world_steps(around)
        for number, process in enumerate(state.processes):
            if process.life is Life.UP:
                yield from running_steps(around, number)
                yield from settling_steps(around, number)

    def key(self, state: State) -> State:
        return canonical(state)

    def broken(self, state: State) -> str | None:
        return broken(state) or given_up_too_early(state, self._misfortunes(state))

    def broken_step(self, before: State, after: State) -> str | None:
        return broken_step(before, after)

    def _misfortunes(self, state: State) -> int:
        """Count what may have kept a finaliser from its end."""
        kinds = ("crashes", "freezes", "slow", "faults", "drains")
        return sum(getattr(self.budget, kind) - getattr(state.budget, kind) for kind in kinds)

    def ended(self, state: State) -> bool:
        return all(job.ended for job in state.db.jobs)
