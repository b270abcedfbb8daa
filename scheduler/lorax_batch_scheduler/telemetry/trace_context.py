"""Where a span belongs: W3C Trace Context, with ids that every process can tell from what is stored.

The spans of a job are made by several processes, which may die and begin again. So an id is never drawn by chance: it
is the hash of what the span is about, and whoever tells of it tells of the same span.
"""

import re
from dataclasses import dataclass
from hashlib import sha256
from typing import Final, Self

TRACEPARENT: Final = re.compile(
    r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-.*)?"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceContext:
    """One span's place in its trace; ids in lower-case hex."""

    trace_id: str
    span_id: str
    parent_id: str = ""
    """"": it is the first of its trace."""
    sampled: bool

    @classmethod
    def read(cls, traceparent: str) -> Self | None:
        """Return what a `traceparent` header says; None for what is none, as the standard asks."""
        found = TRACEPARENT.fullmatch(traceparent)
        if found is None or (traceparent.startswith("00") and found[4]):
            return None
        return cls(trace_id=found[1], span_id=found[2], sampled=bool(int(found[3], 16) & 1))

    @property
    def header(self) -> str:
        """The `traceparent` header of what is done inside this span."""
        return f"00-{self.trace_id}-{self.span_id}-{int(self.sampled):02d}"

    def child(self, *about: object) -> "TraceContext":
        """Return the context of a span inside this one; the same for the same words."""
        words = "/".join(map(str, (self.trace_id, self.span_id, *about)))
        return TraceContext(
            trace_id=self.trace_id, span_id=_digest(words)[:16], parent_id=self.span_id, sampled=self.sampled
        )

    @property
    def chance(self) -> float:
        """A number from [0, 1) that is the same in every process, to decide by whether the trace is sampled."""
        return int(self.trace_id[-8:], 16) / 2**32


def of_job(job_id: str, traceparent: str) -> TraceContext:
    """Return the context of a job's span: inside the caller's, if there was one, else the first of its own trace."""
    caller = TraceContext.read(traceparent)
    if caller is not None:
        return caller.child(job_id)
    digest = _digest(job_id)
    return TraceContext(trace_id=digest[:32], span_id=digest[32:48], sampled=True)


def _digest(text: str) -> str:
    return sha256(text.encode()).hexdigest()
