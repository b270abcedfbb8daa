"""Whatever is typed, a command ends with a message and an exit code, never with a traceback."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any

import pytest
import typer.main
from hypothesis import given
from hypothesis import strategies as st
from lorax_batch_server.cli.application import application
from lorax_batch_server.cli.deadline import parse_deadline
from lorax_batch_server.cli.exit_code import ExitCode
from lorax_batch_server.cli.options import open_client
from lorax_batch_server.cli.reporting_group import CommandError
from typer.core import TyperGroup
from typer.testing import CliRunner

from tests.fuzz.effort import FUZZED, SCALE
from tests.fuzz.odd_values import ODD_INTEGERS, ODD_TEXTS

SURROGATE = "name-\udcff"
"""An argument that is not UTF-8, as Python passes it on."""
NOWHERE = "unix:/nowhere/at/all.sock"
TYPED = (
    *ODD_TEXTS, *map(str, ODD_INTEGERS), "nan", "inf", "-inf", "1e400", "24h", "99999999999d", "9" * 400 + "d",
    "0h", "24x",
    "2030-01-31T18:00:00Z", "9999-12-31T23:59:59+00:00", "0001-01-01T00:00:00+14:00", "2030-02-31", "a=b", "=", "a=",
    "-", "--", "--json", "unix:", "http://x:1", "localhost:99999", "[::1", ":0", "/", "/dev/null", "/nonexistent",
    SURROGATE,
    "key=" + SURROGATE, "x" * 300,
)  # fmt: skip
LONG_RUNNING = {"serve", "demo", "simulator", "run", "rehearse"}
"""Would start processes; what they read is fuzzed by itself."""


def leaves(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield every command that does something, with the words that call it."""
    if isinstance(command, TyperGroup):
        for name, one in command.commands.items():
            if name not in LONG_RUNNING:
                yield from leaves(one, (*path, name))
    else:
        yield path, command


COMMANDS = dict(leaves(typer.main.get_command(application)))


def run(arguments: list[str]) -> tuple[int, str]:
    """Run a command in this process; return how it ended and what it said."""
    result = CliRunner().invoke(application, arguments, env={"LORAX_BATCH_TARGET": NOWHERE}, input=b"")
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise AssertionError(f"{arguments} raised {result.exception!r}") from result.exception
    return result.exit_code, result.stdout + result.stderr


def line_of(chance: Random, path: tuple[str, ...], command: Any, existing: Path) -> list[str]:
    """Return odd arguments for a command, of the options that it has."""
    arguments = list(path)
    for parameter in command.params:
        value = chance.choice((*TYPED, str(existing), str(existing.parent)))
        if parameter.param_type_name == "argument":
            arguments.append(value)
        elif parameter.opts[0] != "--help" and chance.random() < (0.9 if parameter.required else 0.25):
            arguments.append(parameter.opts[0])
            if not getattr(parameter, "is_flag", False):
                arguments.append(value)
    return arguments


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_odd_arguments_end_in_a_message(path, chance: Random, tmp_path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)  # some arguments name files to write
    # Nobody will ever answer: no need to wait between the attempts.
    monkeypatch.setattr(open_client, "__kwdefaults__", {"sleep": lambda _: None})
    existing = tmp_path / "rows.jsonl"
    existing.write_bytes(b"{}\n")
    for _ in range(6 * SCALE):
        arguments = line_of(chance, path, COMMANDS[path], existing)
        code, said = run(arguments)
        assert code in set(ExitCode), (arguments, said)
        assert said or code == ExitCode.DONE, arguments
        assert "Traceback" not in said, (arguments, said)


@FUZZED
@given(text=st.one_of(st.sampled_from(TYPED), st.text(alphabet="0123456789.dhms", max_size=30), st.text(max_size=20)))
def test_any_deadline_is_a_time_or_is_refused(text):
    with suppress(CommandError):
        assert repr(parse_deadline(text))


SERVE: dict[str, Callable[[Path], list[str | bytes]]] = {
    "a data directory with a NUL in its file": lambda path: ["--config", str(path / "nul.toml")],
    "a catalogue that is binary": lambda path: ["--catalogue", sys.executable],
    "a server of bytes": lambda path: ["--server", b"http://\xff"],
}


@pytest.mark.parametrize("name", SERVE)
def test_a_service_that_can_not_start_says_why(name, tmp_path):
    (tmp_path / "nul.toml").write_text('data_dir = "a\\u0000b"')
    ended = subprocess.run(
        [sys.executable, "-m", "lorax_batch_server", "serve", *SERVE[name](tmp_path)],
        cwd=tmp_path,
        capture_output=True,
        timeout=60,
        check=False,
    )
    said = ended.stderr.decode(errors="replace")
    assert ended.returncode == ExitCode.BAD_INPUT, said
    assert "lorax-batch: " in said
    assert "Traceback" not in said
