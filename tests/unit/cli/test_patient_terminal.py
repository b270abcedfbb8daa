"""Writing to a terminal that nobody reads."""

import os
import pty
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


def read_all(reader: int, terminal: PatientTerminal) -> str:
    told = b""
    while True:
        try:
            told += os.read(reader, 65_536)
        except BlockingIOError:
            return told.decode()
        terminal.flush()


def frame(number: int) -> str:
    return f"<{number}>" + f"{number % 10}" * 2_000 + f"</{number}>"


def test_frames_are_dropped_whole_while_nobody_reads_and_shown_again_after(reader: tuple[int, str]) -> None:
    terminal = PatientTerminal(reader[1])
    for number in range(200):
        terminal.write(frame(number))
    terminal.write(LEAVE)
    told = read_all(reader[0], terminal)
    shown = told.count("<0>") and told.count("</")
    assert 0 < shown < 200
    assert told == "".join(frame(number) for number in range(shown)) + LEAVE
    terminal.write(frame(300))
    assert read_all(reader[0], terminal) == frame(300)
    terminal.close()


def test_it_is_closed_though_nobody_reads(reader: tuple[int, str]) -> None:
    terminal = PatientTerminal(reader[1])
    for number in range(200):
        terminal.write(frame(number))
    terminal.close()
    assert terminal.closed
