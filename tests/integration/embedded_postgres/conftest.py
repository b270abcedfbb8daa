"""State directories for an embedded PostgreSQL."""

import asyncio
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.embedded_postgres.owner import (
    start_and_stop,
)


@pytest.fixture
def state(postgres_directory: Path) -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(dir=postgres_directory))
    folder.chmod(0o711)
    yield folder / "postgres"
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def made_state(postgres_directory: Path) -> Path:
    """Return a state directory with a database in it, to be copied: initdb takes most of a start's time."""
    path = postgres_directory / "made"
    asyncio.run(start_and_stop(path))
    return path


@pytest.fixture
def filled(made_state: Path, state: Path) -> Path:
    subprocess.run(["cp", "-a", made_state, state], check=True)
    return state


@pytest.fixture
def sleeper(made_state: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Yield a process of the user that PostgreSQL runs as: others' pids are no obstacle to it."""
    owner = (made_state / "cluster/data").stat().st_uid
    process = subprocess.Popen(["sleep", "60"], user=owner if os.geteuid() == 0 else None)
    yield process
    process.kill()
    process.wait()
