"""What a row is answered with: a function of model, adapter, prompt and seed, so that tests can tell whose it is."""

import math
import re
from dataclasses import dataclass
from hashlib import blake2b
from statistics import NormalDist

from lorax_simulator.tokens import TOKEN_CHARACTERS

TAIL_CHARACTERS = 48
_MEDIAN_SHARE = 0.3  # of max_tokens, for the output length
_SPREAD = 0.6  # sigma of the lognormal output length
_NORMAL = NormalDist()
_ASKED = re.compile(r"\[\[(\d{1,7}) tokens\]\]")
_FILLER = "the quick brown fox jumps over the lazy dog while the band plays on " * 64


@dataclass(frozen=True, slots=True)
class Draw:
    """The chance of one row: sixteen hex digits, and a number in (0, 1)."""

    digest: str
    uniform: float


def draw(*, model_id: str, adapter_id: str, prompt: str, seed: str) -> Draw:
    """Return the draw of a row; equal arguments give equal draws in every process."""
    hashed = blake2b("\0".join((model_id, adapter_id, seed, prompt)).encode(errors="replace"), digest_size=16).digest()
    return Draw(hashed[:8].hex(), (int.from_bytes(hashed[8:], "big") + 1) / (2**64 + 2))


def output_tokens(chance: Draw, prompt: str, max_new_tokens: int) -> int:
    """Return how many tokens the row generates: at least 1, at most `max_new_tokens`.

    As many as the prompt asks for, once, as in `[[120 tokens]]`; else lognormal.
    """
    asked = _ASKED.search(prompt)
    if asked is not None:
        return max(1, min(max_new_tokens, int(asked[1])))
    wanted = _MEDIAN_SHARE * max_new_tokens * math.exp(_SPREAD * _NORMAL.inv_cdf(chance.uniform))
    return max(1, min(max_new_tokens, round(wanted)))


def generated_text(chance: Draw, said: str, tokens: int) -> str:
    """Return the digest, the end of what was said last, and filler up to about four characters a token."""
    tail = " ".join(said[-TAIL_CHARACTERS:].split())
    text = f"{chance.digest} {tail}"
    missing = tokens * TOKEN_CHARACTERS - len(text) - 1
    if missing <= 0:
        return text
    filler = _FILLER * (1 + missing // len(_FILLER))
    return f"{text} {filler[:missing].rstrip()}"
