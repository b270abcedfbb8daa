"""Reading the limits out of the errors that say a row is too long."""

import re
from dataclasses import dataclass

PATTERNS = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        # LoRAX and TGI
        r"must be <= (?P<limit>\d+)\. Given: (?P<prompt>\d+) `inputs` tokens and (?P<output>\d+) `max_new_tokens`",
        # vLLM and OpenAI, older
        (
            r"maximum context length is (?P<limit>\d+) tokens.{0,80}?requested \d+ tokens"
            r" \((?P<prompt>\d+) in the \w+, (?P<output>\d+) in the completion\)"
        ),
        # vLLM, newer
        (
            r"is too large: (?P<output>\d+)\.? ?.{0,40}?maximum context length is (?P<limit>\d+) tokens"
            r" and your request has (?P<prompt>\d+) input tokens"
        ),
    )
)
PROMPT_PATTERN = re.compile(r"`inputs` must have less than \d+ tokens|maximum context length", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class LengthError:
    """A row is too long; `room` is what is left for the output (0: the prompt alone is too long)."""

    room: int


def read_length_error(message: str) -> LengthError | None:
    """Return what the message says of the row's length; None when it is about something else."""
    for pattern in PATTERNS:
        match = pattern.search(message)
        if match:
            room = int(match["limit"]) - int(match["prompt"])
            return LengthError(room=max(0, room if room < int(match["output"]) else 0))
    return LengthError(room=0) if PROMPT_PATTERN.search(message) else None
