"""What a backup refuses, what it survives, and that nothing is deleted under it."""

import os
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import msgspec
import pytest
import pytest_asyncio
from lorax_batch_scheduler.clock import SystemClock
from lorax_batch_scheduler.dataset import NewDataset
from lorax_batch_scheduler.errors import ConfigurationError, DatabaseError
from lorax_batch_scheduler.objects.directory import DirectoryObjectStore
from lorax_batch_scheduler.postgres.database import Database
from lorax_batch_scheduler.postgres.dataset_store import PostgresDatasetStore
from lorax_batch_scheduler.postgres.dump import dump_database, hold_removals
from lorax_batch_scheduler.postgres.listener import Listener
from lorax_batch_scheduler.postgres.removal_store import PostgresRemovalStore
from lorax_batch_scheduler.removals import Removals
from lorax_batch_server.backup import restore
from lorax_batch_server.backup.manifest import Manifest
from lorax_batch_server.backup.restore import restore_backup
from lorax_batch_server.backup.take import take_backup

PACK, OUTPUT = "datasets/ds_1/1/pack-00000", "results/job_1/output.jsonl"
LARGE = b"row\n" * (3 << 20)
"""More than a part."""


@pytest_asyncio.fixture
async def objects(tmp_path: Path) -> AsyncIterator[DirectoryObjectStore]:
    async with DirectoryObjectStore(tmp_path / "objects") as objects:
        await objects.put(PACK, b"chunks")
        await objects.put(OUTPUT, LARGE)
        yield objects


@pytest_asyncio.fixture
async def other(tmp_path: Path) -> AsyncIterator[DirectoryObjectStore]:
    async with DirectoryObjectStore(tmp_path / "other") as objects:
        yield objects


@pytest_asyncio.fixture
async def backup(database: str, objects: DirectoryObjectStore, tmp_path: Path) -> Path:
    """Return a backup of a database with one dataset."""
    connection = await asyncpg.connect(database)
    await connection.execute("INSERT INTO removals (prefix, keep) VALUES ('uploads/ds_9/', '')")
    await connection.close()
    await take_backup(database, objects, tmp_path / "backup")
    return tmp_path / "backup"


async def held(objects: DirectoryObjectStore) -> dict[str, bytes]:
    return {
        info.key: await objects.get(info.key)
        for prefix in ("datasets/", "results/")
        async for info in objects.scan(prefix)
    }


async def count(dsn: str, table: str) -> int:
    connection = await asyncpg.connect(dsn)
    try:
        return int(await connection.fetchval(f"SELECT count(*) FROM {table}"))
    finally:
        await connection.close()


async def test_all_of_it_comes_back(
    backup: Path, empty_database: str, objects: DirectoryObjectStore, other: DirectoryObjectStore,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(restore, "PART_BYTES", 5 << 20)
    manifest = await restore_backup(empty_database, other, backup)
    assert (manifest.object_count, manifest.object_bytes) == (2, 6 + len(LARGE))
    assert await held(other) == await held(objects)
    assert await count(empty_database, "removals") == 1
    assert await count(empty_database, "schema_migrations") == manifest.schema_version
    assert (await other.get("owner")).decode() == manifest.database_id


async def test_nobody_else_can_read_it(backup: Path) -> None:
    for path in (backup, backup / "objects"):
        assert path.stat().st_mode & 0o077 == 0, path


async def test_what_is_given_up_meanwhile_is_deleted_afterwards(
    database: str, objects: DirectoryObjectStore, tmp_path: Path
) -> None:
    pool = Database(database)
    await pool.open()
    try:
        datasets, removals = PostgresDatasetStore(pool, Listener(database)), PostgresRemovalStore(pool)
        deletes = Removals(removals, objects, clock=SystemClock())
        await datasets.create_dataset(NewDataset(dataset_id="ds_1", name="rows", source_path="/somewhere"))
        async with hold_removals(database) as hold:
            await datasets.delete_dataset("ds_1")
            await deletes.of("ds_1")
            assert await deletes.carry_out_due() == 0
            assert await objects.get(PACK) == b"chunks"
            await hold.check()
        assert await deletes.carry_out_due() > 0
        assert PACK not in await held(objects)
    finally:
        await pool.close()


async def test_a_lost_hold_is_no_backup(database: str, tmp_path: Path) -> None:
    async with hold_removals(database) as hold:
        other = await asyncpg.connect(database)
        await other.execute("SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND objid = 1")
        await other.close()
        with pytest.raises(DatabaseError, match="back up once more"):
            await hold.check()


async def test_a_folder_with_something_in_it_is_left_alone(
    database: str, objects: DirectoryObjectStore, tmp_path: Path
) -> None:
    (tmp_path / "mine.txt").touch()
    with pytest.raises(ConfigurationError, match="is not empty: each backup needs a folder of its own"):
        await take_backup(database, objects, tmp_path)


async def test_a_database_of_others_is_not_backed_up(
    empty_database: str, objects: DirectoryObjectStore, tmp_path: Path
) -> None:
    with pytest.raises(ConfigurationError, match="has no tables of lorax-batch"):
        await take_backup(empty_database, objects, tmp_path / "backup")


async def test_a_backup_that_was_cut_off_is_none(
    backup: Path, empty_database: str, other: DirectoryObjectStore
) -> None:
    (backup / "backup.json").unlink()
    await refuses("has no backup.json", backup, empty_database, other)


@pytest.mark.parametrize("file", ["database.dump", "objects.jsonl", f"objects/{OUTPUT}"])
async def test_a_damaged_backup_is_refused_before_the_database_is_touched(
    file: str, backup: Path, empty_database: str, other: DirectoryObjectStore
) -> None:
    good = (backup / file).read_bytes()
    (backup / file).write_bytes(good[:-1] + b"?")
    await refuses(f"{Path(file).name}' is missing or damaged", backup, empty_database, other)
    (backup / file).write_bytes(good)
    await restore_backup(empty_database, other, backup)
    assert (await held(other))[OUTPUT] == LARGE


async def test_a_backup_of_a_newer_version_is_refused(
    backup: Path, empty_database: str, other: DirectoryObjectStore
) -> None:
    manifest = msgspec.json.decode((backup / "backup.json").read_bytes(), type=Manifest)
    newer = msgspec.structs.replace(manifest, schema_version=9_999)
    (backup / "backup.json").write_bytes(msgspec.json.encode(newer))
    await refuses("has schema version 9999, but this lorax-batch knows versions up to", backup, empty_database, other)


async def test_a_database_that_is_not_empty_is_left_alone(
    backup: Path, database: str, other: DirectoryObjectStore
) -> None:
    with pytest.raises(ConfigurationError, match="has tables of lorax-batch already: nothing was restored"):
        await restore_backup(database, other, backup)
    assert await held(other) == {}


async def test_a_store_of_another_database_is_left_alone(
    backup: Path, empty_database: str, other: DirectoryObjectStore
) -> None:
    await other.put("owner", b"another")
    await refuses("belongs to database another", backup, empty_database, other)
    await other.delete("owner")
    await other.put("results/job_2/output.jsonl", b"theirs")
    await refuses("no mark of whose they are", backup, empty_database, other)
    assert list(await held(other)) == ["results/job_2/output.jsonl"]


async def test_the_program_says_what_is_wrong_and_the_password_is_in_no_list_of_processes(
    backup: Path, empty_database: str, other: DirectoryObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs, arguments = tmp_path / "bin", tmp_path / "arguments"
    programs.mkdir()
    (programs / "pg_dump").write_text(f'#!/bin/sh\necho "$@" > {arguments}\necho "$PGPASSWORD is wrong" >&2\nexit 3\n')
    (programs / "pg_dump").chmod(0o755)
    monkeypatch.setenv("LORAX_BATCH_PG_BIN", str(programs))
    with pytest.raises(DatabaseError, match=r"pg_dump failed \(3\): s3cr@t is wrong"):
        await dump_database("postgresql://me:s3cr%40t@host:5433/db?sslmode=require", tmp_path / "dump")
    assert "--dbname=postgresql://me@host:5433/db?sslmode=require" in arguments.read_text()
    assert "s3cr" not in arguments.read_text()


async def test_without_the_program_it_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LORAX_BATCH_PG_BIN", str(tmp_path))
    monkeypatch.setenv("PATH", os.devnull)
    with pytest.raises(ConfigurationError, match=r"there is no 'pg_dump': install .* postgresql-client"):
        await dump_database("postgresql://host/db", tmp_path / "dump")


async def refuses(why: str, backup: Path, dsn: str, objects: DirectoryObjectStore) -> None:
    with pytest.raises(ConfigurationError, match=why):
        await restore_backup(dsn, objects, backup)
    connection = await asyncpg.connect(dsn)
    try:
        assert not await connection.fetchval("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'")
    finally:
        await connection.close()
