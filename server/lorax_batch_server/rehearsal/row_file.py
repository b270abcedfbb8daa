"""The rows of a trace's job as a dataset: of the same lengths, in words that mean nothing."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from lorax_batch_scheduler.replay.virtual_server import VirtualRow

CHARACTERS_A_TOKEN: Final = 4
"""Of simulated servers, which count one token more for the start of the text."""
_FILLER: Final = "the quick brown fox jumps over the lazy dog while the band plays on "


def write_rows(path: Path, rows: Iterable[VirtualRow]) -> int:
    """Write rows that a simulated server gives the asked prompt and output tokens; return how many."""
    count = 0
    with path.open("w", encoding="utf-8") as file:
        for row in rows:
            body = {
                "model": row.adapter,
                "prompt": prompt_of(row),
                "max_tokens": row.reserved_tokens - row.prompt_tokens,
            }
            line = {"custom_id": f"row-{count}", "method": "POST", "url": "/v1/completions", "body": body}
            file.write(json.dumps(line) + "\n")
            count += 1
    return count


def prompt_of(row: VirtualRow) -> str:
    """Return a prompt of the row's tokens, as far as the order for its output leaves room."""
    order = f"[[{row.output_tokens} tokens]] "
    characters = (row.prompt_tokens - 1) * CHARACTERS_A_TOKEN - len(order)
    return order + (_FILLER * (characters // len(_FILLER) + 1))[: max(characters, 0)]
