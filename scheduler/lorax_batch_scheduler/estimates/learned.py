"""What was learned of one thing: an exponentially weighted mean, and how far observations lay from what it foretold."""

import math
from enum import StrEnum
from typing import Final

import msgspec

LEAST: Final = 1e-9
"""Values are positive; a logarithm is taken of nothing smaller."""


class Topic(StrEnum):
    """What is learned; the same words as in SQL."""

    OUTPUT_TOKENS = "OUTPUT_TOKENS"
    """A row, by family and adapter ("" as detail: the base model)."""
    FAMILY_OUTPUT_TOKENS = "FAMILY_OUTPUT_TOKENS"
    """A row of any adapter, by family."""
    OUTPUT_RATIO = "OUTPUT_RATIO"
    """Output over allowed tokens, of all families."""
    PROMPT_RATIO = "PROMPT_RATIO"
    """Prompt tokens as the server counted them over those that ingest estimated, by family."""
    SLOWNESS = "SLOWNESS"
    """Seconds that a busy server takes for what its model says takes one, by family and GPU kind."""
    SERVER_SLOWNESS = "SERVER_SLOWNESS"
    """The same by server (in `detail`); not stored, as servers come and go."""
    COLD_START = "COLD_START"
    """Seconds from the start of a server until it is ready, by family and GPU kind."""
    ETA_EARLY = "ETA_EARLY"
    """The lower edge of the band of an end, in standard deviations, by stage of a job (in `detail`)."""
    ETA_MIDDLE = "ETA_MIDDLE"
    ETA_LATE = "ETA_LATE"


class Subject(msgspec.Struct, frozen=True, kw_only=True):
    """What something was learned about."""

    topic: Topic
    family: str = ""
    detail: str = ""
    """An adapter, a GPU kind, a server or a stage, as the topic says."""


class Learned(msgspec.Struct, frozen=True, kw_only=True):
    """A positive quantity as seen so far."""

    mean: float
    log_variance: float = 0.0
    """Mean square of log(observed / foretold)."""
    weight: float = 0.0
    """Amount (rows, seconds, starts) behind the mean, the older the less."""
    observations: int = 0

    def observe(self, value: float, *, amount: float, memory: float) -> "Learned":
        """Return what is known after one more value; what is `memory` of amount ago counts 1/e."""
        kept = self.weight * math.exp(-amount / memory)
        weight = kept + amount
        if not self.observations:
            return Learned(mean=value, weight=amount, observations=1)
        missed = math.log(max(value, LEAST) / max(self.mean, LEAST))
        return Learned(
            mean=(self.mean * kept + value * amount) / weight,
            log_variance=(self.log_variance * kept + missed * missed * amount) / weight,
            weight=weight,
            observations=self.observations + 1,
        )

    def log_sigma(self, *, before: float, trust: float) -> float:
        """Return the standard deviation of log(observed / foretold).

        `before`: what is assumed until something is seen; it counts like `trust` of amount.
        """
        # The first observation had nothing to be compared with.
        seen = self.weight * max(self.observations - 1, 0) / max(self.observations, 1)
        return math.sqrt((self.log_variance * seen + before * before * trust) / (seen + trust))


NOTHING: Final = Learned(mean=0.0)
"""Of what was never observed."""
