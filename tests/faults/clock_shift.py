"""Moves the wall clock of chosen processes, forward and back, while they run."""

import shutil
import struct
import subprocess
from pathlib import Path

import pytest

_SOURCE = Path(__file__).with_suffix(".c")


class ClockShift:
    """A library that processes are started with, and the file that tells it how far their clock is off."""

    def __init__(self, directory: Path) -> None:
        compiler = shutil.which("cc")
        if compiler is None:
            pytest.skip("CLOCK FAULTS ARE NOT TESTED: no C compiler (cc) to build the library that shifts clocks")
        self._library = directory / "clock_shift.so"
        self._file = directory / "clock_shift"
        subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", self._library, _SOURCE, "-ldl"], check=True)
        self.jump_to(0)
        for path in (self._library, self._file):
            path.chmod(0o644)

    @property
    def environment(self) -> dict[str, str]:
        """What a process must be started with."""
        return {"LD_PRELOAD": str(self._library), "CLOCK_SHIFT_FILE": str(self._file)}

    def jump_to(self, hours: float) -> None:
        """Put the clock so far ahead of, or behind, the true time."""
        with self._file.open("r+b" if self._file.exists() else "wb") as file:
            file.write(struct.pack("=q", int(hours * 3600)))

    def postgres_programs(self, real: Path, directory: Path) -> Path:
        """Return a folder of PostgreSQL's programs whose server has this clock."""
        directory.mkdir(mode=0o755)
        for program in real.iterdir():
            (directory / program.name).symlink_to(program)
        settings = " ".join(f"{name}='{value}'" for name, value in self.environment.items())
        server = directory / "postgres"
        server.unlink()
        server.write_text(f'#!/bin/sh\n{settings} exec "{real / "postgres"}" "$@"\n')
        server.chmod(0o755)
        return directory
