"""How a server is doing, and when to ask it again; pure."""

import random

from lorax_batch_scheduler.fleet import ServerState

FIRST_PROBE_S = 0.25
MAX_PROBE_S = 5.0
FIRST_REST_S = 1.0
MAX_REST_S = 60.0
"""A server whose rows fail again right after it said that it is well is left alone for up to so long."""


class ServerCondition:
    """READY, or since when and why not."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self.state = ServerState.READY
        self.reason = ""
        self.since = 0.0
        self._probes = 0
        self._relapses = 0

    @property
    def ready(self) -> bool:
        """Whether rows may be sent."""
        return self.state is ServerState.READY

    def unreachable(self, now: float, reason: str) -> bool:
        """It does not answer; returns whether that is news."""
        return self._worsen(ServerState.UNREACHABLE, now, reason)

    def sick(self, now: float, reason: str) -> bool:
        """It answers, but not as it should; returns whether that is news."""
        if self.state is ServerState.UNREACHABLE:
            return False
        return self._worsen(ServerState.SUSPECT, now, reason)

    def recovered(self) -> None:
        """It said that it is well; only answers to rows prove it."""
        self.state, self.reason = ServerState.READY, ""

    def proved(self) -> None:
        """It answered a row."""
        self._relapses = 0

    def next_probe_s(self) -> float:
        """Return how long to wait before asking the server again."""
        if self.state is ServerState.SUSPECT and self._probes == 0:
            pause = min(MAX_REST_S, FIRST_REST_S * 2.0 ** max(0, self._relapses - 1))
        else:
            pause = min(MAX_PROBE_S, FIRST_PROBE_S * 2.0 ** min(self._probes, 10))
        self._probes += 1
        return pause * self._chance.uniform(0.5, 1.0)

    def _worsen(self, state: ServerState, now: float, reason: str) -> bool:
        news = self.state is not state
        if self.state is ServerState.READY:
            self.since = now
            self._probes = 0
            self._relapses = min(self._relapses + 1, 10)
        self.state, self.reason = state, reason
        return news
