"""Datasets of the scenarios. The words of a row tell the simulators which fault it calls for."""

from typing import Any

Row = dict[str, Any]


def make_row(tag: str, number: int, *, adapter: str = "", max_tokens: int = 20, words: str = "") -> Row:
    """Return a chat row; the simulators know it as `key_of(tag, number)`."""
    return {
        "custom_id": f"{tag}-{number}",
        "method": "POST",
        "url": "/v1/chat/completions",
        "body": {
            "model": adapter,
            "messages": [{"role": "user", "content": f"{key_of(tag, number)} say something {words}"}],
            "max_tokens": max_tokens,
        },
    }


def make_rows(
    tag: str, count: int, *, adapters: tuple[str, ...] = ("",), max_tokens: int = 20, words: str = ""
) -> list[Row]:
    """Return so many chat rows, the adapters in turn."""
    return [
        make_row(tag, number, adapter=adapters[number % len(adapters)], max_tokens=max_tokens, words=words)
        for number in range(count)
    ]


def key_of(tag: str, number: int) -> str:
    """Return what the simulators' request counts call a row."""
    return f"m#{tag}x{number:06d}"
