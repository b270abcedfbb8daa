"""What an endpoint asks to be generated, and what came of it."""

from collections.abc import Callable
from dataclasses import dataclass

from lorax_simulator.row import Row
from lorax_simulator.validation import Parameters

FINISH_LENGTH = "length"
FINISH_EOS = "eos_token"
FINISH_STOP = "stop_sequence"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """A generation as every endpoint puts it; `said` is the end of the conversation, echoed in the answer.

    `schema` makes the text a JSON value of that shape; `embeds` wants a vector and no text.
    """

    prompt: str
    said: str
    adapter_id: str
    adapter_source: str
    parameters: Parameters
    streams: bool = False
    schema: object = None
    embeds: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Generated:
    """One finished sequence with its times in milliseconds of real time."""

    text: str
    digest: str
    finish_reason: str
    prompt_tokens: int
    generated_tokens: int
    seed: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """How an endpoint words its answer: the whole at the end, or one event a token.

    `whole` may raise RouterError. `event` gets the token's text and, with the last one, the sequence.
    """

    whole: Callable[[list[Generated]], object]
    event: Callable[[str, Generated | None], object] | None = None
    ends_with_done: bool = True
    timing_headers: bool = True


@dataclass(slots=True, eq=False)
class Sequence:
    """One row of a generation with the text that it will have."""

    row: Row
    generated: Generated
    pieces: list[str]
    is_done: bool = False
