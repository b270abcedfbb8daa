"""A service that is started again whenever it ends, and whose every end must have a reason."""

import asyncio
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.faults.chaos.findings import Findings
from tests.processes import Service

POLL_S: Final = 0.01
AFTER_REFUSAL_S: Final = 0.5
STOP_S: Final = 60.0
_READY: Final = "listening on "


@dataclass(frozen=True, slots=True, kw_only=True)
class Death:
    """How a life of a service ended."""

    replica: int
    began: float
    moment: float
    code: int
    failpoint: str = ""
    """The one that killed it."""

    @property
    def is_kill(self) -> bool:
        """Whether it had no chance to tidy up."""
        return self.code == -signal.SIGKILL


class Replica(Service):
    """One service of the world; `deaths` tells all its lives but the one under way."""

    def __init__(
        self,
        number: int,
        directory: Path,
        servers: list[str],
        arguments: tuple[str, ...],
        findings: Findings,
        may_refuse: Callable[[float], bool],
    ) -> None:
        super().__init__(directory, *servers, arguments=arguments)
        self.number = number
        self.deaths: list[Death] = []
        self.refusals = 0
        """Starts that it gave up since what it needs was away."""
        self._findings = findings
        self._may_refuse = may_refuse
        self._armed = ""
        self._sent: dict[signal.Signals, float] = {}
        """When each signal was sent to this life."""
        self._began = 0.0
        self._log_start = 0
        self._fired_before = 0

    def arm(self, failpoints: str) -> None:
        """Let its next life die at one of these moments."""
        self._armed = failpoints

    def send(self, number: signal.Signals) -> int:
        """Send a signal to its process, which may be between two lives; return its pid, 0 when there is none."""
        process = self._process
        if process is None or process.poll() is not None:
            return 0
        self._sent[number] = time.time()
        process.send_signal(number)
        return process.pid

    async def live(self) -> None:
        """Start it again whenever it ends, until cancelled."""
        while True:
            self._log_start = self.log.stat().st_size if self.log.exists() else 0
            self._sent.clear()
            self._fired_before = len(self.fired())
            self._began = time.time()
            armed, self._armed = self._armed, ""
            self.begin(armed)
            code = await self._ended()
            if self._note(code):
                await asyncio.sleep(AFTER_REFUSAL_S)

    async def drain(self) -> None:
        """Ask it to end, after `live` was cancelled; it must end well."""
        if self._process is None or self._process.poll() is not None:
            return
        self._process.send_signal(signal.SIGCONT)
        self._process.terminate()
        try:
            code = await asyncio.to_thread(self._process.wait, STOP_S)
        except subprocess.TimeoutExpired:
            self._findings.add(f"service {self.number} did not end within {STOP_S:g} s of SIGTERM")
            return
        self._process = None
        if code != 0:
            self._findings.add(
                f"service {self.number} ended with {code} when it was stopped in the end:\n{self.said()}"
            )

    def is_ready(self) -> bool:
        """Whether this life has listened."""
        return _READY in self._said()

    def said(self) -> str:
        """Return the end of what this life has said."""
        return self._said()[-3_000:]

    def _said(self) -> str:
        with self.log.open("rb") as log:
            log.seek(self._log_start)
            return log.read().decode(errors="replace")

    async def _ended(self) -> int:
        assert self._process is not None
        asked_at = 0.0
        while (code := self._process.poll()) is None:
            await asyncio.sleep(POLL_S)
            asked_at = asked_at or (time.monotonic() if signal.SIGTERM in self._sent else 0.0)
            if asked_at and time.monotonic() - asked_at > STOP_S:
                self._findings.add(f"service {self.number} did not end within {STOP_S:g} s of SIGTERM:\n{self.said()}")
                self.send(signal.SIGKILL)
                asked_at = time.monotonic()
        return code

    def _killed_at(self, code: int, fired: bool) -> float:
        """Return when the end came, not when it was noticed: calls in flight are those of that moment."""
        if code != -signal.SIGKILL:
            return time.time()
        if fired:
            return self._fired_log.stat().st_mtime
        return self._sent.get(signal.SIGKILL, time.time())

    def _note(self, code: int) -> bool:
        """Write the death down; return whether it was a refusal to start."""
        fired = self.fired()[self._fired_before :]
        ready = self.is_ready()
        death = Death(
            replica=self.number,
            began=self._began,
            moment=self._killed_at(code, bool(fired)),
            code=code,
            failpoint=fired[-1] if fired and code == -signal.SIGKILL else "",
        )
        self.deaths.append(death)
        if code == -signal.SIGKILL and (fired or signal.SIGKILL in self._sent):
            return False
        # Before Python has its handlers, SIGTERM ends it in the way of the kernel.
        if signal.SIGTERM in self._sent and (code == 0 or (code == -signal.SIGTERM and not ready)):
            return False
        if code > 0 and not ready and self._may_refuse(self._began):
            self.refusals += 1
            return True
        self._findings.add(f"service {self.number} ended by itself with {code}:\n{self.said()}")
        return True
