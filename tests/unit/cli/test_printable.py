"""What callers name and servers say is shown to people, and obeyed by no terminal."""

import json

import pytest
from lorax_batch_server.cli.output import print_json, print_pairs, print_table, say

HOSTILE = "\x1b[2J\x1b]0;title\x07\x9b31m\u2028forged\nline\u202egnp.exe"


def test_terminals_are_told_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    say(HOSTILE)
    print_pairs([("name", HOSTILE)])
    print_table(("NAME",), [(HOSTILE,)])
    lines = capsys.readouterr().out.split("\n")
    assert all(line.isprintable() for line in lines)
    assert sum("forged\\nline\\u202egnp.exe" in line for line in lines) == 3
    assert len(lines) == 5


def test_one_object_is_one_line_for_every_reader(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"name": HOSTILE, "city": "Zürich"})
    printed = capsys.readouterr().out
    assert len(printed.splitlines()) == 1
    assert not {"\x1b", "\x9b", "\x07"}.intersection(printed)
    assert json.loads(printed) == {"name": HOSTILE, "city": "Zürich"}
    assert "Zürich" in printed
