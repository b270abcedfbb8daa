"""A small file system of a test's own, which it may fill up."""

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

import pytest

_BLOCK = bytes(1 << 16)


class SmallDisk:
    """A tmpfs."""

    def __init__(self, path: Path, size_bytes: int) -> None:
        self.path = path
        self._ballast = path / "ballast"
        path.mkdir(mode=0o755)
        command = ["mount", "-t", "tmpfs", "-o", f"size={size_bytes},mode=755", "tmpfs", str(path)]
        if shutil.which("mount") is None:
            pytest.skip("FULL DISKS ARE NOT TESTED: there is no mount command")
        mounted = subprocess.run(command, capture_output=True, text=True, check=False)
        if mounted.returncode:
            pytest.skip(f"FULL DISKS ARE NOT TESTED: no tmpfs can be mounted here: {mounted.stderr.strip()}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        subprocess.run(["umount", str(self.path)], check=True)

    @contextmanager
    def read_only(self) -> Iterator[None]:
        """Take no writes for a while, as the kernel does with a file system that is damaged."""
        subprocess.run(["mount", "-o", "remount,ro", str(self.path)], check=True)
        try:
            yield
        finally:
            subprocess.run(["mount", "-o", "remount,rw", str(self.path)], check=True)

    @contextmanager
    def full(self) -> Iterator[None]:
        """Leave not a byte free for a while."""
        try:
            with contextlib.suppress(OSError), self._ballast.open("wb", buffering=0) as file:
                while True:
                    file.write(_BLOCK)
            found = os.statvfs(self.path)
            assert found.f_bavail * found.f_frsize < len(_BLOCK), "the disk did not fill up"
            yield
        finally:
            self._ballast.unlink(missing_ok=True)
