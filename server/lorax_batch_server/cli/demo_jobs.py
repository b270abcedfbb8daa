"""What the demo runs: three jobs for two base models, with eight adapters."""

import json
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Final

MISTRAL: Final = "mistral-7b-instruct-v0-2"
LLAMA: Final = "llama-3-1-8b-instruct"
OVERLONG_CHARACTERS: Final = 400_000
"""Far more tokens than Mistral 7B takes: the row ends in errors.jsonl. Llama 3.1 takes it."""
_SYSTEM: Final = "You are a careful assistant. Answer briefly and only from the text."
_TEXT: Final = "river stone market window letter garden engine winter signal harbour copper ladder forest bridge music"
_WORDS: Final = _TEXT.split()


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoJob:
    """One of the three; `share` of all rows are its own."""

    name: str
    base_model: str
    task: str
    adapters: tuple[str, ...]
    share: float

    def write(self, path: Path, rows: int, chance: Random) -> None:
        """Write its dataset: rows that take the adapters in turn, one that is very long, and one that is no row."""
        with path.open("w", encoding="utf-8") as file:
            for number in range(rows - 1):
                text = " ".join(chance.choices(_WORDS, k=chance.choice((8, 20, 60, 200))))
                text = "word " * (OVERLONG_CHARACTERS // 5) if number == rows // 2 else text
                file.write(json.dumps(self._row(number, text, chance)) + "\n")
            file.write('{"custom_id": "broken"\n')

    def _row(self, number: int, text: str, chance: Random) -> dict[str, object]:
        body: dict[str, object] = {
            "model": self.adapters[number % len(self.adapters)],
            "messages": [
                {"role": "system", "content": _SYSTEM},
                {"role": "user", "content": f"{self.task}: {text}"},
            ],
            "max_tokens": chance.choice((64, 128, 256)),
        }
        return {"custom_id": f"{self.name}-{number:06d}", "method": "POST", "url": "/v1/chat/completions", "body": body}


_NEWS: Final = tuple(f"demo/mistral-{name}" for name in ("law", "medicine", "news", "sports"))
_SUPPORT: Final = tuple(f"demo/llama-{name}" for name in ("billing", "orders", "returns", "travel"))

# In this order each base model takes a slot, whenever the planner looks. With one job at a time on a server the first
# slot to be free is that of the small job, and the third starts a server anew there.
DEMO_JOBS: Final = (
    DemoJob(name="replies", base_model=LLAMA, task="Answer this customer", adapters=_SUPPORT, share=0.1),
    DemoJob(name="summaries", base_model=MISTRAL, task="Summarise this", adapters=_NEWS, share=0.6),
    DemoJob(name="labels", base_model=MISTRAL, task="List the topics of this", adapters=_NEWS, share=0.3),
)
