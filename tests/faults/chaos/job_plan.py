"""One job of the load: its dataset, what its caller does to it, and what must come out for each line."""

import json
import random
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from lorax_simulator.answer_text import TAIL_CHARACTERS, draw
from lorax_simulator.bodies import Message
from lorax_simulator.templates import chatml

MODEL_ID: Final = "mistralai/Mistral-7B-Instruct-v0.2"
ADAPTERS: Final = ("", "", "org/a", "org/b", "org/c")
SIZES: Final = (3, 30, 80, 150, 250)
MAX_TOKENS: Final = (250, 450)
"""At the time scale of the simulators a row then takes some 2 s, as a real one does."""
REFUSED: Final = "fault:template-error"
"""The words at which the simulators answer 422."""
INVALID_SHARE: Final = 0.02
REFUSED_SHARE: Final = 0.02


class Fate(StrEnum):
    """What the caller does while the job runs."""

    RUN = "run"
    CANCEL = "cancel"
    PAUSE = "pause"
    """Pauses and resumes it."""
    EXPIRE = "expire"
    """Sets its deadline to now."""


_FATES: Final = {Fate.RUN: 6, Fate.CANCEL: 2, Fate.PAUSE: 2, Fate.EXPIRE: 1}


class Outcome(StrEnum):
    """What must become of a line of the dataset if the job runs to its end."""

    ANSWERED = "answered"
    REFUSED = "refused"
    """The servers say no to it."""
    INVALID = "invalid"
    """It is no row."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpectedLine:
    """What is known of a line beforehand."""

    custom_id: str
    """Empty when the line has none."""
    key: str
    """What the simulators call the row."""
    outcome: Outcome
    text: str = ""
    """What its answer begins with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobPlan:
    """What is uploaded and done."""

    tag: str
    content: bytes
    lines: dict[int, ExpectedLine]
    fate: Fate
    at_share: float
    """The share of its rows after which the caller does it."""
    early: bool
    """Whether the job is made while its dataset is still being checked."""
    retries: bool
    """Whether the rows that did not succeed are run again in a new job."""
    deletes: bool
    """Whether it is deleted in the end."""


def make_plan(seed: str, number: int, *, most_rows: int) -> JobPlan:
    """Return the job of that number."""
    chance = random.Random(f"{seed} {number}")
    tag = f"{number}x{chance.randrange(16**4):04x}"
    expected: dict[int, ExpectedLine] = {}
    texts: list[str] = []
    count = min(chance.choice(SIZES), most_rows)
    adapters = chance.sample(ADAPTERS, chance.randint(1, 3))
    for line in range(1, count + 1):
        text, expected[line] = _make_line(chance, tag, line, chance.choice(adapters))
        texts.append(text)
    fates, weights = zip(*_FATES.items(), strict=True)
    (fate,) = chance.choices(fates, weights)
    return JobPlan(
        tag=tag,
        content="".join(f"{text}\n" for text in texts).encode(),
        lines=expected,
        fate=fate,
        at_share=chance.uniform(0.0, 0.8),
        early=chance.random() < 0.5,
        retries=chance.random() < 0.5,
        deletes=chance.random() < 0.3,
    )


def _make_line(chance: random.Random, tag: str, line: int, adapter: str) -> tuple[str, ExpectedLine]:
    roll = chance.random()
    custom_id, key = f"{tag}-{line}", f"m#{tag}x{line:06d}"
    if roll < INVALID_SHARE:
        return f"line {line} of {tag} is no JSON", ExpectedLine(custom_id="", key=key, outcome=Outcome.INVALID)
    refused = roll < INVALID_SHARE + REFUSED_SHARE
    content = f"{chance.randrange(10**6)} {REFUSED if refused else 'say something'} {key}"
    body: dict[str, Any] = {
        "model": adapter,
        "messages": [{"role": "user", "content": content}],
        "max_tokens": chance.randint(*MAX_TOKENS),
    }
    row = {"custom_id": custom_id, "method": "POST", "url": "/v1/chat/completions", "body": body}
    outcome = Outcome.REFUSED if refused else Outcome.ANSWERED
    text = answer_of(adapter, content)
    return json.dumps(row), ExpectedLine(custom_id=custom_id, key=key, outcome=outcome, text=text)


def answer_of(adapter: str, content: str) -> str:
    """Return what the answer of a simulator to that message begins with: it depends on model, adapter and prompt."""
    prompt = chatml([Message(role="user", content=content)], None)
    chance = draw(model_id=MODEL_ID, adapter_id=adapter, prompt=prompt, seed="0:None:0")
    return f"{chance.digest} {' '.join(content[-TAIL_CHARACTERS:].split())}"
