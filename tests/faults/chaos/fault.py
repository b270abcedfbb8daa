"""One fault of a schedule."""

from dataclasses import dataclass
from enum import StrEnum


class Topology(StrEnum):
    """What is set up."""

    EMBEDDED = "embedded"
    """One service with its own PostgreSQL and a directory for objects."""
    SHARED = "shared"
    """Two services on one PostgreSQL and an S3 server, every connection through a proxy."""


class FaultKind(StrEnum):
    """What is done."""

    KILL_SERVICE = "kill-service"
    """SIGKILL."""
    FAILPOINT = "failpoint"
    """SIGKILL, and in the next life again at one of the moments that `detail` names."""
    STOP_SERVICE = "stop-service"
    """SIGTERM."""
    FREEZE_SERVICE = "freeze-service"
    """SIGSTOP, then SIGCONT: longer than its lease, so that it wakes up as a zombie."""
    KILL_POSTMASTER = "kill-postmaster"
    KILL_POSTGRES = "kill-postgres"
    """All processes of PostgreSQL at once."""
    FREEZE_POSTGRES = "freeze-postgres"
    KILL_SERVER = "kill-server"
    """SIGKILL of a LoRAX server, which is started again on its port."""
    ABORT_SERVER = "abort-server"
    """As the router dies: every connection is reset, then comes a cold start."""
    SERVER_FAULT = "server-fault"
    """The simulator misbehaves as `detail` says."""
    LINK_FAULT = "link-fault"
    """The network misbehaves: `detail` is LINK:WAY."""
    STORE_ERRORS = "store-errors"
    """The object store answers with the status `detail`."""


KILLS = frozenset(
    {
        FaultKind.KILL_SERVICE,
        FaultKind.FAILPOINT,
        FaultKind.KILL_POSTMASTER,
        FaultKind.KILL_POSTGRES,
        FaultKind.KILL_SERVER,
    }
)
"""What ends a process without a warning."""


class Link(StrEnum):
    """Connections that pass through a proxy."""

    POSTGRES = "postgres"
    STORE = "store"
    SERVERS = "servers"


class Damage(StrEnum):
    """What a proxy does."""

    CUT = "cut"
    REFUSE = "refuse"
    DELAY = "delay"
    THROTTLE = "throttle"
    BLACK_HOLE = "black-hole"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """Something that goes wrong at a time of the schedule."""

    at_s: float
    kind: FaultKind
    target: int = 0
    """Which of several services, servers or proxies."""
    lasts_s: float = 0.0
    detail: str = ""
    hasty: bool = False
    """It strikes although the service has not recovered from the one before."""

    def __str__(self) -> str:
        words = [f"{self.at_s:7.2f} s {self.kind} {self.target}"]
        words += [self.detail] if self.detail else []
        words += [f"for {self.lasts_s:.1f} s"] if self.lasts_s else []
        words += ["hasty"] if self.hasty else []
        return " ".join(words)
