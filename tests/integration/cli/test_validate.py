import json
from pathlib import Path

import pytest
from lorax_batch_server.cli.application import application
from typer.testing import CliRunner, Result


def row(custom_id: str, **changes: object) -> str:
    body = {"model": "law", "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 5}
    fields: dict[str, object] = {
        "custom_id": custom_id,
        "method": "POST",
        "url": "/v1/chat/completions",
        "body": body,
    }
    return json.dumps(fields | changes)


@pytest.fixture
def good_file(tmp_path: Path) -> Path:
    path = tmp_path / "good.jsonl"
    path.write_text(f"{row('a')}\n{row('b')}\n")
    return path


@pytest.fixture
def bad_file(tmp_path: Path) -> Path:
    path = tmp_path / "bad.jsonl"
    path.write_text("\n".join([row("a"), "{", row("b", method="GET"), row("a"), "}"]) + "\n")
    return path


def validate(*arguments: object) -> Result:
    return CliRunner().invoke(application, ["validate", *map(str, arguments)])


def test_a_good_file_is_counted(good_file: Path):
    result = validate(good_file)
    assert result.exit_code == 0
    assert "2 rows, 0 invalid" in result.stdout
    assert "law" in result.stdout


def test_every_bad_line_is_told_and_the_exit_code_is_2(bad_file: Path):
    result = validate(bad_file)
    assert result.exit_code == 2
    for line in ("line 2: invalid_json_line", "line 3: ", "line 4: duplicate_custom_id", "line 5: invalid_json_line"):
        assert line in result.stdout


def test_json_has_an_object_a_bad_line_and_the_summary_last(bad_file: Path):
    result = validate(bad_file, "--json")
    *lines, summary = [json.loads(line) for line in result.stdout.splitlines()]
    assert sorted(line["line"] for line in lines) == [2, 3, 4, 5]
    assert all(set(line) == {"line", "code", "param", "message"} for line in lines)
    assert (summary["rows"], summary["invalid_lines"]) == (5, 4)
    assert summary["codes"]["invalid_json_line"] == 2
    assert "law" in summary["models"]


def test_a_file_that_is_not_there_is_named(tmp_path: Path):
    result = validate(tmp_path / "nope.jsonl")
    assert result.exit_code == 2
    assert "nope.jsonl: No such file or directory" in result.stderr
