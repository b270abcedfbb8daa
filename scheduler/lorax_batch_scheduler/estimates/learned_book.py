"""All that was learned, by subject, and what of it is not stored yet."""

from collections.abc import Iterable, Mapping
from typing import Final

from lorax_batch_scheduler.estimates.learned import NOTHING, Learned, Subject, Topic

UNSTORED: Final = frozenset({Topic.SERVER_SLOWNESS})
MAX_SUBJECTS: Final = 50_000
"""Adapters come from callers: what was learned longest ago is forgotten beyond so many."""


class LearnedBook:
    """What is known; changed by observations, one event loop at a time."""

    def __init__(self) -> None:
        self._known: dict[Subject, Learned] = {}
        self._changed: set[Subject] = set()

    def __len__(self) -> int:
        return len(self._known)

    def get(self, subject: Subject) -> Learned:
        """Return what is known of it; `NOTHING` when it was never observed."""
        return self._known.get(subject, NOTHING)

    def put(self, subject: Subject, learned: Learned) -> None:
        """Take something newer in."""
        self._known.pop(subject, None)  # so that the order is that of the last change
        self._known[subject] = learned
        if subject.topic not in UNSTORED:
            self._changed.add(subject)
        while len(self._known) > MAX_SUBJECTS:
            oldest = next(iter(self._known))
            del self._known[oldest]
            self._changed.discard(oldest)

    def observe(self, subject: Subject, value: float, *, amount: float, memory: float) -> None:
        """Learn from one value; see `Learned.observe`."""
        self.put(subject, self.get(subject).observe(value, amount=amount, memory=memory))

    def forget(self, subject: Subject) -> None:
        """Forget what is not stored anyway."""
        self._known.pop(subject, None)

    def load(self, stored: Mapping[Subject, Learned]) -> None:
        """Take in what an earlier life has stored; what this one knows already stays."""
        self._known = {**stored, **self._known}

    def take_changed(self) -> dict[Subject, Learned]:
        """Return what is to be stored, and count it as stored."""
        changed, self._changed = self._changed, set()
        return {subject: self._known[subject] for subject in changed}

    def give_back(self, subjects: Iterable[Subject]) -> None:
        """They could not be stored: they will be taken again."""
        self._changed.update(subject for subject in subjects if subject in self._known)
