"""Writing to a terminal that nobody reads."""

import os
import pty
import re
import select
import tty
from collections.abc import Iterator

import pytest
from lorax_batch_server.cli.patient_terminal import PatientTerminal

LEAVE = "\x1b[?1049l"


@pytest.fixture
def reader() -> Iterator[tuple[int, str]]:
    """The reading end of a terminal, and the path of the other."""
    reader, terminal = pty.openpty()
    tty.setraw(terminal)
    os.set_blocking(reader, False)
    try:
        yield reader, os.ttyname(terminal)
    finally:
        os.close(terminal)
        os.close(reader)


def read_to(end: str, reader: int, terminal: PatientTerminal) -> str:
    """Return all up to this; the kernel hands on what was written in its own time."""
    told = b""
    while not told.endswith(end.encode()):
        assert select.select([reader], [], [], 30)[0], f"{end!r} never came, but {told[-100:]!r}"
        told += os.read(reader, 65_536)
        terminal.flush()
    return told.decode()


def frame(number: int) -> str:
    return f"<{number}>" + f"{number % 10}" * 2_000 + f"</{number}>"


def test_frames_are_dropped_whole_while_nobody_reads_and_shown_again_after(reader: tuple[int, str]) -> None:
    terminal = PatientTerminal(reader[1])
    for number in range(200):
        terminal.write(frame(number))
    terminal.write(LEAVE)
    told = read_to(LEAVE, reader[0], terminal)
    shown = [int(number) for number in re.findall(r"<(\d+)>", told)]
    assert 0 < len(shown) < 200
    assert shown == sorted(shown)
    assert told == "".join(map(frame, shown)) + LEAVE
    terminal.write(frame(300))
    assert read_to("</300>", reader[0], terminal) == frame(300)
    terminal.close()


def test_it_is_closed_though_nobody_reads(reader: tuple[int, str]) -> None:
    terminal = PatientTerminal(reader[1])
    for number in range(200):
        terminal.write(frame(number))
    terminal.close()
    assert terminal.closed
