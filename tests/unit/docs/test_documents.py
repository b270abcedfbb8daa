"""What the documents link to and tell people to type is there."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
import typer
from lorax_batch_server.cli.application import application

from tests.unit.observability.test_dashboard_and_rules import alerts, rules

ROOT = Path(__file__).parents[3]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
_FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_TYPED = re.compile(r"(?:^|[\s`(]|bin/)lorax-batch ((?:[a-z]+)(?: [^`\n#|;&>]*)?)", re.MULTILINE)
_names = [str(path.relative_to(ROOT)) for path in DOCUMENTS]


@pytest.mark.parametrize("document", DOCUMENTS, ids=_names)
def test_links_lead_somewhere(document: Path) -> None:
    for link in _LINK.findall(_FENCE.sub("", document.read_text())):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, heading = unquote(link).partition("#")
        target = (document.parent / path).resolve() if path else document
        assert target.exists(), link
        if heading:
            assert heading in anchors(target), link


@pytest.mark.parametrize("document", DOCUMENTS, ids=_names)
def test_commands_are_there(document: Path) -> None:
    for typed in code(document):
        for line in _TYPED.findall(typed):
            check_command(line)


@pytest.mark.parametrize("document", DOCUMENTS, ids=_names)
def test_make_targets_are_there(document: Path) -> None:
    targets = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for typed in code(document):
        assert set(re.findall(r"(?:^|\s)make ([a-z][a-z0-9-]+)", typed, re.MULTILINE)) <= targets, typed


def test_each_alert_has_its_section_in_the_runbook_and_leads_there() -> None:
    headings = re.findall(r"^## (\w+)$", (ROOT / "docs/runbook.md").read_text(), re.MULTILINE)
    assert headings == alerts()
    assert re.findall(r"runbook_url: (\S+)", rules()) == [f"docs/runbook.md#{alert.lower()}" for alert in alerts()]


def anchors(document: Path) -> set[str]:
    """Return the headings of a document as links name them."""
    headings = re.findall(r"^#+ (.+)$", _FENCE.sub("", document.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def code(document: Path) -> Iterator[str]:
    """Yield what stands in a document as code: blocks, and words in lines."""
    text = document.read_text()
    yield from (block.replace("\\\n", " ") for block in _FENCE.findall(text))
    yield from re.findall(r"`([^`\n]+)`", _FENCE.sub("", text))


def check_command(line: str) -> None:
    """Fail unless the command and its options exist."""
    command: Any = typer.main.get_command(application)
    words = shlex.split(line.replace("'", "").replace('"', ""), comments=True)
    for number, word in enumerate(words):
        if isinstance(getattr(command, "commands", None), dict):
            names = [name for name in word.split("\\|")[0].split("|") if name]
            if not names or not names[0].isalpha():
                return
            assert names[0] in command.commands, f"there is no 'lorax-batch {' '.join(words[: number + 1])}'"
            command = command.commands[names[0]]
    known = {option for parameter in command.params for option in [*parameter.opts, *parameter.secondary_opts]}
    asked = {word.split("=")[0] for word in words if re.match(r"--[a-z]", word)}
    if not command.context_settings.get("ignore_unknown_options"):
        assert asked <= known | {"--help"}, f"lorax-batch {line}: {asked - known}"
