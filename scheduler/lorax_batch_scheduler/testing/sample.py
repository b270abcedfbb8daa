"""A dataset to try things with."""

import json
from pathlib import Path
from random import Random
from typing import Final

SAMPLE_ADAPTERS: Final = tuple(f"demo/adapter-{name}" for name in ("law", "medicine", "news", "poems", "support"))
MISSING_ADAPTER: Final = "missing/adapter"
OVERLONG_CHARACTERS: Final = 400_000
"""Far more tokens than a server takes by default."""
_MISSING_EVERY: Final = 400
_TEXT: Final = "river stone market window letter garden engine winter signal harbour copper ladder forest bridge music"
_WORDS: Final = _TEXT.split()
_TASKS: Final = ("Summarise this", "Translate this into French", "List the nouns of this", "Continue this")
_SYSTEM: Final = "You are a careful assistant. Answer briefly and only from the text."


def write_sample(path: Path, rows: int, seed: int) -> int:
    """Write valid rows for the base model and five adapters; return how many of them a server will refuse.

    Those name an adapter that does not exist (one in 400, at least one), or have a prompt too long for any server (one
    row), where `rows` leaves room for them.
    """
    random = Random(seed)  # noqa: S311 - not for secrets
    failing = 0
    with path.open("w", encoding="utf-8") as file:
        for number in range(rows):
            model = random.choice(("", *SAMPLE_ADAPTERS))
            text = " ".join(random.choices(_WORDS, k=random.choice((8, 20, 60, 200))))
            if number % _MISSING_EVERY == 3:
                model = MISSING_ADAPTER
                failing += 1
            elif number == 5:
                text = "word " * (OVERLONG_CHARACTERS // 5)
                failing += 1
            file.write(json.dumps(_row(random, number, model, text)) + "\n")
    return failing


def _row(random: Random, number: int, model: str, text: str) -> dict[str, object]:
    messages = [
        {"role": "system", "content": _SYSTEM},
        {"role": "user", "content": f"{random.choice(_TASKS)}: {text}"},
    ]
    body: dict[str, object] = {
        "model": model,
        "messages": messages,
        "max_tokens": random.choice((16, 64, 128, 256)),
        "temperature": random.choice((0, 0.7)),
    }
    return {"custom_id": f"sample-{number:06d}", "method": "POST", "url": "/v1/chat/completions", "body": body}
