"""A small trace that is right, as JSON has it."""

import copy
import json
from typing import Any, Final

GIB: Final = 1 << 30

_TREE: Final[dict[str, Any]] = {
    "version": 1,
    "name": "small",
    "slots": [
        {"id": "s0", "kind": "a100-80", "memory_bytes": 80 * GIB},
        {"id": "s1", "kind": "a100-80", "memory_bytes": 80 * GIB},
    ],
    "models": [
        {"name": "m", "parameters": 7_241_732_096, "weight_bytes": 14_483_464_192, "kv_bytes_per_token": 131_072}
    ],
    "families": [{"id": "f", "model": "m"}, {"id": "g", "model": "m"}],
    "tenants": [{"id": "t"}, {"id": "u", "weight": 2.0}],
    "jobs": [
        {
            "id": "j0",
            "family": "f",
            "arrival_s": 5,
            "tenant": "t",
            "deadline_s": 3_600,
            "rows": [{"count": 40, "prompt_tokens": 100, "output_tokens": 20}],
        },
        {
            "id": "j1",
            "family": "g",
            "arrival_s": 9,
            "tenant": "u",
            "drawn": {"seed": 1, "count": 30, "prompt_median": 80, "output_median": 30, "adapters": ["a", "b"]},
        },
    ],
    "failures": [{"slot": "s1", "time_s": 30, "duration_s": 20}],
}


def small_tree() -> dict[str, Any]:
    """Return a copy of its own for a test to change."""
    return copy.deepcopy(_TREE)


def encoded(tree: object) -> bytes:
    """Return it as a file has it."""
    return json.dumps(tree).encode()
