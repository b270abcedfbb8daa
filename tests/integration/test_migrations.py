"""Migrations on a real PostgreSQL."""

import asyncio
from pathlib import Path

import asyncpg
import pytest
from lorax_batch_scheduler.errors import ConfigurationError, DatabaseError
from lorax_batch_scheduler.postgres.database import Database
from lorax_batch_scheduler.postgres.migrations import Migration, migrate, shipped_migrations

FIRST = Migration(version=1, name="create_things", sql="CREATE TABLE things (id int); INSERT INTO things VALUES (7);")
SECOND = Migration(version=2, name="add_label", sql="ALTER TABLE things ADD label text;")


async def _migrate(dsn: str, *migrations: Migration) -> list[int]:
    connection = await asyncpg.connect(dsn)
    try:
        return await migrate(connection, list(migrations))
    finally:
        await connection.close()


async def _value(dsn: str, query: str) -> object:
    connection = await asyncpg.connect(dsn)
    try:
        return await connection.fetchval(query)
    finally:
        await connection.close()


async def test_all_are_applied_in_order_to_an_empty_database(empty_database: str) -> None:
    assert await _migrate(empty_database, FIRST, SECOND) == [1, 2]
    assert await _value(empty_database, "SELECT count(label) + sum(id) FROM things") == 7
    assert await _value(empty_database, "SELECT string_agg(name, ' ' ORDER BY version) FROM schema_migrations") == (
        "create_things add_label"
    )


async def test_twice_is_harmless(empty_database: str) -> None:
    await _migrate(empty_database, FIRST)
    assert await _migrate(empty_database, FIRST) == []
    assert await _value(empty_database, "SELECT count(*) FROM things") == 1


async def test_a_later_version_applies_only_what_is_new(empty_database: str) -> None:
    await _migrate(empty_database, FIRST)
    assert await _migrate(empty_database, FIRST, SECOND) == [2]


async def test_twenty_at_once_apply_each_once(empty_database: str) -> None:
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(_migrate(empty_database, FIRST, SECOND)) for _ in range(20)]
    assert sorted(task.result() for task in tasks) == [[]] * 19 + [[1, 2]]
    assert await _value(empty_database, "SELECT count(*) FROM things") == 1


async def test_one_that_fails_leaves_nothing_behind(empty_database: str) -> None:
    broken = Migration(version=2, name="broken", sql="CREATE TABLE half (); SELECT 1 / 0;")
    with pytest.raises(asyncpg.DivisionByZeroError):
        await _migrate(empty_database, FIRST, broken)
    assert await _value(empty_database, "SELECT to_regclass('half')") is None
    assert await _value(empty_database, "SELECT to_regclass('things')") is None


async def test_a_newer_database_is_refused_with_both_versions(empty_database: str) -> None:
    await _migrate(empty_database, FIRST, SECOND)
    with pytest.raises(ConfigurationError, match=r"schema version 2, .* up to 1"):
        await _migrate(empty_database, FIRST)


async def test_a_newer_database_is_used_by_programs_that_its_migrations_have_thought_of(empty_database: str) -> None:
    third = Migration(version=3, name="add_shade", sql="-- oldest program: 0002\nALTER TABLE things ADD shade text;")
    assert await _migrate(empty_database, FIRST, SECOND, third) == [1, 2, 3]
    assert await _migrate(empty_database, FIRST, SECOND) == []
    with pytest.raises(ConfigurationError, match=r"schema version 3, .* up to 1 and would have to know 2"):
        await _migrate(empty_database, FIRST)


async def test_one_later_migration_that_needs_its_program_is_enough_to_refuse_older_ones(empty_database: str) -> None:
    third = Migration(version=3, name="drop_label", sql="ALTER TABLE things DROP label;")
    fourth = Migration(version=4, name="add_shade", sql="-- oldest program: 0002\nALTER TABLE things ADD shade text;")
    await _migrate(empty_database, FIRST, SECOND, third, fourth)
    with pytest.raises(ConfigurationError, match=r"schema version 4, .* would have to know 3"):
        await _migrate(empty_database, FIRST, SECOND)


async def test_a_database_of_before_the_oldest_program_was_written_down_goes_on(empty_database: str) -> None:
    await _migrate(empty_database, FIRST)
    await _value(empty_database, "ALTER TABLE schema_migrations DROP COLUMN oldest_program")
    assert await _migrate(empty_database, FIRST) == []
    assert await _migrate(empty_database, FIRST, SECOND) == [2]


async def test_a_table_that_is_in_use_is_waited_for_without_holding_it_up(
    empty_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A migration that waits for a table gives its place up now and then; others get theirs meanwhile."""
    monkeypatch.setattr("lorax_batch_scheduler.postgres.migrations._LOCK_TIMEOUT", "50ms")
    await _migrate(empty_database, FIRST)
    reader = await asyncpg.connect(empty_database)
    try:
        async with asyncio.TaskGroup() as group:
            async with reader.transaction():
                assert await reader.fetchval("SELECT count(*) FROM things") == 1
                migrating = group.create_task(_migrate(empty_database, FIRST, SECOND))
                assert await _value(empty_database, "SELECT sum(id) FROM things") == 7
            assert await migrating == [2]
    finally:
        await reader.close()


async def test_a_transaction_that_meets_a_new_column_fails_once_and_no_more(empty_database: str) -> None:
    """Statements that were prepared before a migration are prepared again, on all connections."""
    await _migrate(empty_database, FIRST)
    database = Database(empty_database, max_connections=2)
    await database.open()

    async def read() -> list[dict[str, object]]:
        async with database.transaction() as one, database.transaction() as two:
            found = await one.fetch("SELECT * FROM things")
            assert await two.fetch("SELECT * FROM things") == found
        return [dict(record) for record in found]

    try:
        assert await read() == [{"id": 7}]
        await _migrate(empty_database, FIRST, SECOND)
        with pytest.raises(DatabaseError, match="cached statement plan is invalid"):
            await read()
        assert await read() == [{"id": 7, "label": None}]
    finally:
        await database.close()


async def test_a_role_that_may_not_change_the_schema_is_told_who_may(empty_database: str) -> None:
    """It does without when the schema is up to date; else it is told what to do, and nothing has changed."""
    await _migrate(empty_database, FIRST)
    await _value(empty_database, "GRANT SELECT ON schema_migrations TO pg_monitor")
    connection = await asyncpg.connect(empty_database)
    try:
        await connection.execute("SET ROLE pg_monitor")
        assert await migrate(connection, [FIRST]) == []
        with pytest.raises(
            ConfigurationError, match=r"schema version 1, .* needs 2, .* --database-url .* `lorax-batch migrate`"
        ):
            await migrate(connection, [FIRST, SECOND])
    finally:
        await connection.close()
    assert await _migrate(empty_database, FIRST, SECOND) == [2]


async def test_an_applied_migration_whose_text_changed_is_refused(empty_database: str) -> None:
    await _migrate(empty_database, FIRST)
    changed = Migration(version=1, name="create_things", sql="CREATE TABLE things (id bigint)")
    with pytest.raises(ConfigurationError, match="another text of migration 0001_create_things"):
        await _migrate(empty_database, changed)


async def test_the_shipped_ones_are_in_the_template_and_up_to_date(database: str) -> None:
    assert await _migrate(database, *shipped_migrations()) == []


def test_files_are_read_in_order_of_their_numbers(tmp_path: Path) -> None:
    (tmp_path / "0002_second.sql").write_text("SELECT 2")
    (tmp_path / "0001_first.sql").write_text("SELECT 1")
    (tmp_path / "notes.md").write_text("not a migration")
    assert [migration.name for migration in shipped_migrations(tmp_path)] == ["first", "second"]


def test_a_gap_in_the_numbers_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "0002_second.sql").write_text("SELECT 2")
    with pytest.raises(ValueError, match="0002_second should have number 0001"):
        shipped_migrations(tmp_path)


def test_a_file_that_is_named_wrongly_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "1_first.sql").write_text("SELECT 1")
    with pytest.raises(ValueError, match=r"'1_first.sql' is not named like a migration"):
        shipped_migrations(tmp_path)
