"""What every kind of step needs: the state before it, the names of processes, and the database."""

from typing import Any

from tests.model.defects import Defect
from tests.model.explorer import Step
from tests.model.state import Budget, Process, State
from tests.model.statements import Call, execute


class Surroundings:
    """The state that steps start from."""

    def __init__(
        self, state: State, defects: frozenset[Defect], *, exclusive: bool, max_attempts: int, small_files: bool
    ) -> None:
        self.state = state
        self.defects = defects
        self.exclusive = exclusive
        self.max_attempts = max_attempts
        self.small_files = small_files

    def has(self, defect: Defect) -> bool:
        return defect in self.defects

    def may(self, kind: str) -> bool:
        """Whether the budget has something of a kind left."""
        return bool(getattr(self.state.budget, kind))

    def spent(self, kind: str) -> Budget:
        budget = self.state.budget
        return budget._replace(**{kind: getattr(budget, kind) - 1})

    def ask(self, state: State, *calls: Call) -> tuple[State, list[Any]]:
        """Run calls on the database of a state."""
        db, answers = state.db, []
        for call in calls:
            db, answer = execute(db, call, self.defects)
            answers.append(answer)
        return (state if db is state.db else state._replace(db=db)), answers


def name_of(number: int, process: Process) -> str:
    """Return the name under which a process holds leases; a new one in each life, and after each lost lease."""
    return f"{'abc'[number]}{process.generation}"


def step(text: str, state: State, *calls: Call, helps: bool = True) -> Step[State]:
    return Step(text, state, helps, calls)
