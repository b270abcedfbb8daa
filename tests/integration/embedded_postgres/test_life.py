"""The embedded PostgreSQL lives as long as its owner, and says clearly why it can't start."""

import asyncio
import subprocess
from pathlib import Path
from urllib.parse import unquote

import pytest
import uvloop
from lorax_batch_scheduler.errors import ConfigurationError, DatabaseError
from lorax_batch_scheduler.postgres.binaries import BIN_VARIABLE

from tests.integration.embedded_postgres.owner import (
    Owner,
    all_ended,
    comes_true,
    needs_proc,
    other_binaries,
    pids_in,
    run_sql,
    server_in,
    start_and_stop,
)


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
    await start_and_stop(filled)


def test_it_runs_on_uvloop(filled: Path) -> None:
    async def body() -> int:
        server = server_in(filled)
        dsn = await server.start()
        answer = await run_sql(dsn, "SELECT 1")
        await server.stop()
        return int(answer)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(body()) == 1


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
    await start_and_stop(state)
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
    await start_and_stop(filled)


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
    await start_and_stop(state)
