"""What was asked and answered, for tests: how often each row was called, and an optional log of every call."""

import json
import re
import time
from collections import Counter
from dataclasses import asdict, dataclass
from hashlib import blake2b
from typing import TextIO

DEFAULT_MARKER = r"\b(?:row|m)[-#:_]\w+"


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One answered (or broken) call of a row; `status` is 0 when no answer was sent."""

    key: str
    path: str
    adapter: str
    status: int
    prompt_tokens: int = 0
    completion_tokens: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Logs:
    """Files that outlive a killed server."""

    arrivals: TextIO | None = None
    """A line for each row that arrives: `SECONDS KEY`."""
    calls: TextIO | None = None
    """A line for each ended call: JSON."""
    loads: TextIO | None = None
    """A line for each adapter that comes to the GPU: `SECONDS MODEL ADAPTER`."""


class Journal:
    """Counts by key: the first match of `marker` in a body, else a digest of the body; no marker, no counts by key."""

    def __init__(self, *, marker: str = DEFAULT_MARKER, logs: Logs | None = None) -> None:
        self._marker = re.compile(marker.encode()) if marker else None
        self._logs = logs or Logs()
        self.load_log = self._logs.loads
        self.rows_received = 0
        self.received: Counter[str] = Counter()
        self.answered: Counter[str] = Counter()
        self.statuses: Counter[int] = Counter()
        self.prompt_tokens = 0
        self.completion_tokens = 0

    def receive(self, body: bytes) -> str:
        """Count an arriving row and return its key."""
        self.rows_received += 1
        if self._marker is None:
            return ""
        found = self._marker.search(body)
        key = found[0].decode(errors="replace") if found else blake2b(body, digest_size=8).hexdigest()
        self.received[key] += 1
        if self._logs.arrivals is not None:
            self._logs.arrivals.write(f"{time.time():.6f} {key}\n")
        return key

    def answer(self, call: Call) -> None:
        """Count how a row's call ended."""
        self.statuses[call.status] += 1
        if call.status == 200:
            if call.key:
                self.answered[call.key] += 1
            self.prompt_tokens += call.prompt_tokens
            self.completion_tokens += call.completion_tokens
        if self._logs.calls is not None:
            self._logs.calls.write(json.dumps({"time": round(time.time(), 6), **asdict(call)}) + "\n")
