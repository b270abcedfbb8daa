"""The embedded PostgreSQL loses nothing when it, its guard or its owner is killed, and leaves no orphan."""

import asyncio
import os
import signal
from pathlib import Path

import asyncpg
import pytest
from lorax_batch_scheduler.postgres.binaries import BIN_VARIABLE, find_binaries

from tests.integration.embedded_postgres.owner import (
    PATIENCE_S,
    Owner,
    all_ended,
    comes_true,
    needs_proc,
    pids_in,
    run_sql,
    server_in,
)


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
