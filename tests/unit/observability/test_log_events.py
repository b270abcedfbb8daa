"""Every event that the code logs is in the operators' table, and the other way around."""

import ast
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from tests.unit.observability.markdown_table import table

ROOT = Path(__file__).parents[3]
LEVELS = {"debug", "info", "warning", "error", "critical", "exception"}
LOGS = {"_log", "log", "self._log"}


def test_the_table_of_events_is_what_the_code_logs() -> None:
    logged = _logged()
    told = {event: set(level.split(", ")) for event, level, _ in table("event")}
    assert sorted(logged) == sorted(told)
    # A level of None was chosen at run time: the table alone knows it.
    wrong = {event: levels for event, levels in logged.items() if None not in levels and levels != told[event]}
    assert wrong == {}


def test_the_table_of_events_is_sorted_and_says_each_once() -> None:
    events = [event for event, *_ in table("event")]
    assert events == sorted(set(events))


def _logged() -> dict[str, set[str | None]]:
    found: defaultdict[str, set[str | None]] = defaultdict(set)
    for package in ("scheduler", "server", "clients"):
        for path in (ROOT / package).rglob("*.py"):
            for call, level in _log_calls(ast.parse(path.read_text())):
                event = call.args[0] if call.args else None
                where = f"{path}:{call.lineno}"
                assert isinstance(event, ast.Constant), f"{where}: the name of an event is a literal"
                assert isinstance(event.value, str), where
                assert event.value.replace("_", "").islower(), f"{where}: {event.value} is no fixed name"
                found[event.value].add(level)
    return found


def _log_calls(tree: ast.AST) -> Iterator[tuple[ast.Call, str | None]]:
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        if isinstance(node.func, ast.Attribute) and node.func.attr in LEVELS:
            if ast.unparse(node.func.value) in LOGS:
                yield node, "error" if node.func.attr == "exception" else node.func.attr
        elif isinstance(node.func, ast.Name) and node.func.id == "log":
            yield node, None
