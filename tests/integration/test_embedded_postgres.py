"""The embedded PostgreSQL: it lives as long as its owner, loses nothing, and says clearly why it can't start."""

import asyncio
import json
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import asyncpg
import pytest
import uvloop
from lorax_batch_scheduler.errors import ConfigurationError, DatabaseError
from lorax_batch_scheduler.postgres.binaries import BIN_VARIABLE, OLDEST_MAJOR, PostgresBinaries, find_binaries
from lorax_batch_scheduler.postgres.embedded import BATCH_SETTINGS, EmbeddedPostgres

OWNER = Path(__file__).with_name("embedded_owner.py")
PYTHONPATH = os.pathsep.join(place for place in sys.path if "packages" in place or place.endswith("scheduler"))
PATIENCE_S = 20
needs_proc = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes somebody else")


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
    asyncio.run(_start_and_stop(path))
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


def server_in(state: Path, **settings: str) -> EmbeddedPostgres:
    return EmbeddedPostgres(state, settings={**BATCH_SETTINGS, "shared_buffers": "32MB", **settings})


async def _start_and_stop(state: Path) -> None:
    async with server_in(state):
        pass


async def run_sql(dsn: str, query: str) -> Any:
    connection = await asyncpg.connect(dsn, timeout=10)
    try:
        return await connection.fetchval(query)
    finally:
        await connection.close()


def pids_in(state: Path) -> list[int]:
    """Return the live processes of the PostgreSQL in a state directory, by their working directory."""
    found = []
    for process in Path("/proc").iterdir():
        try:
            if process.name.isdigit() and (process / "cwd").readlink().is_relative_to(state):
                found.append(int(process.name))
        except OSError:
            continue
    return found


async def all_ended(state: Path) -> bool:
    return await comes_true(lambda: not pids_in(state))


async def comes_true(condition: Callable[[], bool]) -> bool:
    for _ in range(PATIENCE_S * 100):
        if condition():
            return True
        await asyncio.sleep(0.01)
    return False


def other_binaries() -> PostgresBinaries | None:
    """Return a PostgreSQL of another version than the preferred one."""
    preferred = find_binaries(environ={})
    for major in range(OLDEST_MAJOR, preferred.major):
        found = find_binaries(major=major, environ={})
        if found.major == major:
            return found
    return None


def python_for(user: int) -> str | None:
    """Return a Python that a user can run this project with: ours may lie below a closed home directory."""
    for python in (sys.executable, f"/usr/bin/python3.{sys.version_info.minor}"):
        try:
            subprocess.run(
                [python, "-c", "import asyncpg, lorax_batch_scheduler"],
                env={**os.environ, "PYTHONPATH": PYTHONPATH},
                user=user,
                cwd="/",
                check=True,
            )
        except (OSError, subprocess.CalledProcessError):
            continue
        return python
    return None


class Owner:
    """The owner as a process of its own."""

    def __init__(self, state: Path, *, user: int | None = None, python: str = sys.executable) -> None:
        self.process = subprocess.Popen(
            [python, OWNER, state],
            env={**os.environ, "PYTHONPATH": PYTHONPATH},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            user=user,
            group=user,
            extra_groups=None if user is None else [],
            cwd="/",
        )
        self.said: dict[str, Any] = {}

    async def ready(self) -> "Owner":
        assert self.process.stdout
        line = await asyncio.wait_for(asyncio.to_thread(self.process.stdout.readline), PATIENCE_S)
        self.said = json.loads(line)
        return self

    async def end(self) -> int:
        await asyncio.to_thread(self.process.communicate, b"", PATIENCE_S)
        return self.process.returncode

    async def kill(self, *others: str) -> None:
        """Kill the owner, and what it named, all at once."""
        for name in others:
            os.kill(self.said[name], signal.SIGKILL)
        self.process.kill()
        await asyncio.to_thread(self.process.communicate, None, PATIENCE_S)


async def test_data_survives_a_stop(state: Path) -> None:
    async with server_in(state) as server:
        dsn = await server.start()  # again: it stops and starts
        await run_sql(dsn, "CREATE TABLE kept AS SELECT 42 AS answer")
    async with server_in(state) as server:
        assert await run_sql(await server.start(), "SELECT answer FROM kept") == 42


async def test_it_is_a_supported_version_that_listens_on_no_port(filled: Path) -> None:
    server = server_in(filled)
    dsn = await server.start()
    assert int(await run_sql(dsn, "SHOW server_version_num")) >= 150_000
    assert await run_sql(dsn, "SHOW listen_addresses") == ""
    assert await run_sql(dsn, "SHOW fsync") == "on"
    await server.stop()


@needs_proc
async def test_stop_leaves_no_process_and_gives_the_directory_up(filled: Path) -> None:
    server = server_in(filled)
    await server.start()
    assert pids_in(filled)
    await server.stop()
    await server.stop()
    assert not pids_in(filled)
    assert server.guard_pid is None
    await _start_and_stop(filled)


def test_it_runs_on_uvloop(filled: Path) -> None:
    async def body() -> int:
        server = server_in(filled)
        dsn = await server.start()
        answer = await run_sql(dsn, "SELECT 1")
        await server.stop()
        return int(answer)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(body()) == 1


async def test_wait_exited_tells_that_postgres_died_and_start_brings_it_back(filled: Path) -> None:
    server = server_in(filled)
    dsn = await server.start()
    await run_sql(dsn, "CREATE TABLE kept AS SELECT 42 AS answer")
    for _ in range(3):
        assert server.postgres_pid
        os.kill(server.postgres_pid, signal.SIGKILL)
        assert await asyncio.wait_for(server.wait_exited(), PATIENCE_S) == 128 + signal.SIGKILL
        assert await run_sql(await server.start(), "SELECT answer FROM kept") == 42
    await server.stop()


@needs_proc
async def test_a_postgres_that_is_killed_before_it_is_ready_is_started_again(
    filled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel kills for memory at any moment: a service that starts just then need not end."""
    programs = filled / "programs"
    programs.mkdir(mode=0o755)
    program = programs / "postgres"
    real = find_binaries().bin_dir
    once = 'if [ "$1" = -D ] && ! [ -e "$2/was-killed" ]; then touch "$2/was-killed"; kill -9 $$; fi'
    program.write_text(f'#!/bin/sh\n{once}\nexec {real}/postgres "$@"\n')
    program.chmod(0o755)
    (programs / "initdb").symlink_to(real / "initdb")
    monkeypatch.setenv(BIN_VARIABLE, str(programs))
    async with server_in(filled) as server:
        assert server.postgres_pid is not None
    assert (filled / "cluster" / "data" / "was-killed").exists(), "it was not killed"


async def test_a_killed_guard_takes_postgres_along_and_start_brings_it_back(filled: Path) -> None:
    server = server_in(filled)
    await server.start()
    assert server.guard_pid
    os.kill(server.guard_pid, signal.SIGKILL)
    assert await asyncio.wait_for(server.wait_exited(), PATIENCE_S) == -signal.SIGKILL
    assert await run_sql(await server.start(), "SELECT 1") == 1
    await server.stop()


@needs_proc
async def test_a_killed_owner_leaves_no_orphan(filled: Path) -> None:
    owner = await Owner(filled).ready()
    assert pids_in(filled)
    await owner.kill()
    assert await all_ended(filled)


@needs_proc
async def test_an_owner_killed_during_initdb_leaves_nothing_that_looks_like_a_database(state: Path) -> None:
    owner = Owner(state)
    cluster = state / "cluster"
    assert await comes_true(lambda: any(cluster.glob("initdb-*/base")))
    await owner.kill()
    assert await all_ended(state)
    assert not (cluster / "data").exists()
    async with server_in(state) as server:
        assert not list(cluster.glob("initdb-*"))
        assert server.postgres_pid


@needs_proc
async def test_no_committed_row_is_lost_when_all_are_killed_at_once(filled: Path) -> None:
    committed = 0
    for _ in range(3):
        owner = await Owner(filled).ready()
        connection = await asyncpg.connect(owner.said["dsn"])
        await connection.execute("CREATE TABLE IF NOT EXISTS kept (number int PRIMARY KEY)")
        for _ in range(20):
            await connection.execute("INSERT INTO kept VALUES ($1)", committed)
            committed += 1
        await owner.kill("guard", "postgres")
        connection.terminate()
    server = server_in(filled)
    assert await run_sql(await server.start(), "SELECT count(*) FROM kept") == committed
    await server.stop()


@needs_proc
async def test_pid_files_that_name_another_program_are_no_obstacle(
    filled: Path, sleeper: subprocess.Popen[bytes]
) -> None:
    """In a restarted container the old PostgreSQL's pid is soon somebody else's."""
    data = filled / "cluster/data"
    stale = f"{sleeper.pid}\n{data}\n0\n5432\n{filled}/cluster\n\n  0 0\nready   \n"
    (data / "postmaster.pid").write_text(stale)
    (filled / "cluster/.s.PGSQL.5432.lock").write_text(stale)
    server = server_in(filled)
    assert await run_sql(await server.start(timeout_s=5), "SELECT 1") == 1
    await server.stop()
    assert sleeper.poll() is None


async def test_one_of_racing_owners_wins_and_the_others_name_it(filled: Path) -> None:
    owners = [Owner(filled) for _ in range(4)]
    for owner in owners:
        await owner.ready()
    winners = [owner for owner in owners if "dsn" in owner.said]
    losers = [owner for owner in owners if "dsn" not in owner.said]
    assert len(winners) == 1
    for owner in losers:
        assert owner.said["error"] == "ConfigurationError"
        assert f"is in use by process {winners[0].said['pid']}" in owner.said["message"]
    for owner in owners:
        assert await owner.end() == 0


async def test_files_of_another_version_are_refused_with_both_versions(filled: Path) -> None:
    (filled / "cluster/data/PG_VERSION").write_text("12\n")
    with pytest.raises(
        ConfigurationError, match=r"made by PostgreSQL 12, but .* PostgreSQL 1\d of .*LORAX_BATCH_PG_BIN"
    ):
        await server_in(filled).start()


async def test_files_that_the_systems_postgres_made_open_after_another_is_preferred(
    state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = other_binaries()
    if other is None:
        pytest.skip("there is one PostgreSQL version only")
    monkeypatch.setenv(BIN_VARIABLE, str(other.bin_dir))
    await _start_and_stop(state)
    monkeypatch.delenv(BIN_VARIABLE)
    async with server_in(state) as server:
        version = await run_sql(await server.start(), "SHOW server_version_num")
        assert version.startswith(str(other.major))


async def test_a_file_in_the_way_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match=r"can't keep a database in '.*/file/postgres' as user '.*Not a dir"):
        await server_in(tmp_path / "file" / "postgres").start()


async def test_a_setting_that_postgres_refuses_is_told_from_its_log(filled: Path) -> None:
    with pytest.raises(DatabaseError, match='unrecognized configuration parameter "no_such_setting"'):
        await server_in(filled, no_such_setting="1").start()
    await _start_and_stop(filled)


async def test_a_long_path_gets_a_short_socket(state: Path) -> None:
    server = server_in(state / ("long" * 30))
    dsn = await server.start()
    socket_dir = Path(unquote(dsn.partition("host=")[2]))
    assert len(str(socket_dir)) < 50
    assert await run_sql(dsn, "SELECT 1") == 1
    await server.stop()
    assert await comes_true(lambda: not socket_dir.exists())


async def test_a_cancelled_start_leaves_nothing(state: Path) -> None:
    task = asyncio.create_task(server_in(state).start())
    assert await comes_true(lambda: any((state / "cluster").glob("initdb-*")))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await all_ended(state)
    await _start_and_stop(state)


@needs_root
async def test_below_a_closed_directory_root_keeps_the_files(state: Path) -> None:
    state.parent.chmod(0o700)
    server = server_in(state)
    try:
        dsn = await server.start()
    except ConfigurationError as error:
        if "user namespace" in str(error):
            pytest.skip("no user namespaces here")
        raise
    assert await run_sql(dsn, "SELECT 1") == 1
    await server.stop()
    assert (state / "cluster/data").stat().st_uid == 0
    assert state.parent.stat().st_mode & 0o777 == 0o700


@needs_root
async def test_an_ordinary_user_runs_it_and_may_not_write_elsewhere(state: Path) -> None:
    user = pwd.getpwnam("daemon").pw_uid
    python = python_for(user)
    if python is None:
        pytest.skip("an ordinary user can't reach any Python of this version, or not the virtual environment")
    os.chown(state.parent, user, -1)
    owner = await Owner(state, user=user, python=python).ready()
    assert "dsn" in owner.said, owner.said
    assert await run_sql(owner.said["dsn"], "SELECT 1") == 1
    assert await owner.end() == 0
    assert (state / "cluster/data").stat().st_uid == user

    os.chown(state.parent, 0, -1)
    refused = await Owner(state.parent / "other", user=user, python=python).ready()
    assert refused.said["error"] == "ConfigurationError"
    assert f"{state.parent}/other' as user 'daemon': Permission denied" in refused.said["message"]
    assert await refused.end() == 0


@needs_root
async def test_a_uid_without_a_name_runs_it_too(state: Path) -> None:
    """Some container platforms make the uid up; initdb insists on a name."""
    user = 54_321
    python = python_for(user)
    if python is None:
        pytest.skip("another user can't reach any Python of this version, or not the virtual environment")
    os.chown(state.parent, user, -1)
    owner = await Owner(state, user=user, python=python).ready()
    assert await owner.end() == 0
    if "user namespace" in owner.said.get("message", ""):
        pytest.skip("no user namespaces here")
    assert "dsn" in owner.said, owner.said
