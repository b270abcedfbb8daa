"""Looks at every state that a model can reach, and tells the shortest way to one that is wrong."""

import gc
from collections import deque
from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from typing import Generic, NamedTuple, Protocol, TypeVar

S = TypeVar("S", bound=Hashable)


class Step(NamedTuple, Generic[S]):
    """Something that may happen next."""

    text: str
    state: S
    helps: bool = True
    """Whether it may be counted on to happen by itself; False: a fault, or the whim of a caller."""
    calls: tuple[object, ...] = ()
    """What was asked of the database, for those who play the step on a real one."""


class Model(Protocol[S]):
    """States are frozen values; equal states are the same state."""

    def initial(self) -> S: ...

    def steps(self, state: S) -> Iterable[Step[S]]: ...

    def key(self, state: S) -> Hashable:
        """Return the same for states that differ in nothing that matters."""
        ...

    def broken(self, state: S) -> str | None:
        """Say what is wrong with a state, if anything is."""
        ...

    def broken_step(self, before: S, after: S) -> str | None:
        """Say what is wrong with getting from one state to the next, if anything is."""
        ...

    def ended(self, state: S) -> bool:
        """Whether all is done that was to be done."""
        ...


@dataclass(frozen=True, slots=True)
class Exploration:
    """What was found."""

    states: int
    steps: int
    depth: int
    counterexample: str | None


class TooManyStatesError(AssertionError):
    """The model is larger than it should be."""


def explore(model: Model[S], *, max_states: int = 400_000) -> Exploration:
    """Visit every state breadth first, so that a counterexample is a shortest one."""
    collects = gc.isenabled()
    gc.disable()  # frozen values hold no cycles, and going through all of them again and again takes half of the time
    try:
        return _Search(model, max_states).run()
    finally:
        if collects:
            gc.enable()


class _Search(Generic[S]):
    def __init__(self, model: Model[S], max_states: int) -> None:
        self._model = model
        self._max_states = max_states
        self._number: dict[Hashable, int] = {}
        self._came_from: list[tuple[int, str]] = []
        self._depth: list[int] = []
        self._helped_by: list[list[int]] = []
        """For each state, those from which a step that can be counted on leads to it."""
        self._ends: list[int] = []
        self._waiting: deque[tuple[int, S]] = deque()
        self._steps = 0

    def run(self) -> Exploration:
        model = self._model
        wrong = self._visit(model.initial(), -1, "", helps=False)
        while self._waiting and wrong is None:
            number, state = self._waiting.popleft()
            for step in model.steps(state):
                self._steps += 1
                wrong = model.broken_step(state, step.state)
                if wrong is not None:
                    return self._found(wrong, number, step.text)
                wrong = self._visit(step.state, number, step.text, helps=step.helps)
                if wrong is not None:
                    break
        if wrong is not None:
            return self._found(wrong, len(self._came_from) - 1, "")
        stuck = self._first_without_end()
        if stuck is not None:
            return self._found("nothing leads to an end any more", stuck, "")
        return self._result(None)

    def _visit(self, state: S, before: int, text: str, *, helps: bool) -> str | None:
        key = self._model.key(state)
        known = self._number.get(key)
        if known is not None:
            if helps:
                self._helped_by[known].append(before)
            return None
        number = self._number[key] = len(self._came_from)
        if number >= self._max_states:
            raise TooManyStatesError(f"more than {self._max_states} states")
        self._came_from.append((before, text))
        self._depth.append(self._depth[before] + 1 if before >= 0 else 0)
        self._helped_by.append([before] if helps else [])
        if self._model.ended(state):
            self._ends.append(number)
        self._waiting.append((number, state))
        return self._model.broken(state)

    def _first_without_end(self) -> int | None:
        reaches = bytearray(len(self._came_from))
        waiting = list(self._ends)
        for number in waiting:
            reaches[number] = 1
        while waiting:
            for before in self._helped_by[waiting.pop()]:
                if not reaches[before]:
                    reaches[before] = 1
                    waiting.append(before)
        stuck = reaches.find(0)
        return None if stuck < 0 else stuck

    def _found(self, wrong: str, number: int, last: str) -> Exploration:
        texts = [last] if last else []
        while number >= 0:
            number, text = self._came_from[number]
            texts.append(text)
        steps = [text for text in reversed(texts) if text]
        lines = [f"{wrong}, after {len(steps)} steps:"]
        lines += [f"{place:4}. {text}" for place, text in enumerate(steps, 1)]
        return self._result("\n".join(lines))

    def _result(self, counterexample: str | None) -> Exploration:
        return Exploration(len(self._came_from), self._steps, max(self._depth), counterexample)
