"""What the engine reports to the outside: values, in the order in which they happened."""

from dataclasses import dataclass

from lorax_simulator.row import Row


@dataclass(frozen=True, slots=True)
class Finished:
    """The row has all its tokens."""

    row: Row


@dataclass(frozen=True, slots=True)
class Failed:
    """The shard raised; the text is what a 424 carries after `Request failed during generation: `."""

    row: Row
    text: str


@dataclass(frozen=True, slots=True)
class TokenMade:
    """A streaming row got its token number `index` (from 0); its last token is told by `Finished` alone."""

    row: Row
    index: int


@dataclass(frozen=True, slots=True)
class HealthChecked:
    """The shard answered a health check that was asked for with this ticket."""

    ticket: int
    healthy: bool


@dataclass(frozen=True, slots=True)
class Aborted:
    """The router died: all connections reset, the server starts again cold."""

    reason: str


Outcome = Finished | Failed | TokenMade | HealthChecked | Aborted
