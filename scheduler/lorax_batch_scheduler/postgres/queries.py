"""Loads `.sql` files of named statements: `-- claim_chunks --`, a sentence of purpose, the statement."""

import re
from importlib import resources
from importlib.resources.abc import Traversable

_HEADER = re.compile(r"^-- (?P<name>\w+) --[ \t]*$", re.MULTILINE)
_ENTRY = re.compile(r"(?P<purpose>(?:--[^\n]*\n)+)(?P<statement>.+)", re.DOTALL)


class Queries:
    """Statements as attributes, each a `str`; asking for one that the file does not hold is an `AttributeError`.

    Bind them to module constants where they are used (`CLAIM_CHUNKS = queries.claim_chunks`), so that a wrong name
    fails at import.
    """

    def __init__(self, statements: dict[str, str]) -> None:
        self._statements = statements

    def __getattr__(self, name: str) -> str:
        try:
            return self._statements[name]
        except KeyError:
            raise AttributeError(f"queries.sql has no statement '-- {name} --'") from None

    def __dir__(self) -> list[str]:
        return sorted(self._statements)


def parse_queries(text: str) -> Queries:
    """Return the statements of a text; raise `ValueError` for one that is empty, unexplained or there twice."""
    _, *parts = _HEADER.split(text)
    statements: dict[str, str] = {}
    for name, body in zip(parts[::2], parts[1::2], strict=True):
        entry = _ENTRY.fullmatch(body.strip())
        if entry is None:
            raise ValueError(f"statement '{name}' needs a comment that says its purpose, and SQL after it")
        if name in statements:
            raise ValueError(f"there are two statements '{name}'")
        # With its name as comment, pg_stat_statements and the server's log tell which one it was.
        statements[name] = f"-- {name}\n{entry['statement'].strip().rstrip(';')}"
    return Queries(statements)


def load_queries(file: Traversable | None = None) -> Queries:
    """Return the statements of `queries.sql` beside this module, or of another file."""
    file = file or resources.files("lorax_batch_scheduler.postgres") / "queries.sql"
    return parse_queries(file.read_text(encoding="utf-8"))
