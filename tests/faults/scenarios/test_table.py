"""The table of named scenarios in the documentation says what the tests say."""

import ast
import re
from pathlib import Path

HERE = Path(__file__).parent
TABLE = HERE.parents[2] / "docs" / "faults.md"
NAMES = {
    "terminal_overwrite",
    "worker_crash_strands_job",
    "cancel_reverted",
    "duplicate_execution",
    "cancel_racing_completion",
    "recovery_crash_loop",
    "replicas_execute_once",
    "create_crash_after_store",
    "cancel_event_lost",
    "orphaned_blob",
    "finalization_strand",
    "zombie_owner_burns_inference",
    "async_result_destruction",
}


def told_by_tests() -> dict[str, list[str]]:
    """Return the paragraphs of the docstring of each test, by its name."""
    found = {}
    for path in HERE.glob("test_*.py"):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
                paragraphs = (ast.get_docstring(node) or "").split("\n\n")
                found[node.name.removeprefix("test_")] = [" ".join(text.split()) for text in paragraphs]
    return found


def test_each_scenario_says_what_it_proves_and_what_goes_wrong_without() -> None:
    told = told_by_tests()
    assert not NAMES - told.keys()
    assert {name: len(told[name]) for name in NAMES} == dict.fromkeys(NAMES, 2)


def test_the_table_says_what_the_tests_say() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (.+) \| (.+) \|$", TABLE.read_text(encoding="utf-8"), re.MULTILINE)
    told = told_by_tests()
    assert {name: [proves, without] for name, proves, without in rows} == {name: told[name] for name in NAMES}
