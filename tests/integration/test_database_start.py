"""A PostgreSQL that can't be used is told of when the service starts, with the setting and what to change."""

import re
from pathlib import Path

import asyncpg
import pytest
from lorax_batch_scheduler.errors import ConfigurationError
from lorax_batch_server.role import Role
from lorax_batch_server.settings import load_settings
from lorax_batch_server.stores import open_stores

GUEST = "start_guest"
ALL = "SELECT, INSERT, UPDATE, DELETE"


async def start(dsn: str, store: Path) -> str:
    """Return why a service can't start on a database."""
    settings = load_settings(role=Role.API, database_url=dsn, object_store=str(store))
    with pytest.raises(ConfigurationError, match=r"--database-url \(LORAX_BATCH_DATABASE_URL\)") as caught:
        async with open_stores(settings):
            pass
    return str(caught.value)


@pytest.mark.parametrize(
    ("grants", "said"),
    [
        ((), "permission denied for table schema_migrations"),
        (("GRANT SELECT ON schema_migrations TO {}",), rf"may not read and change \d+ of .*: GRANT {ALL}"),
        ((f"GRANT {ALL} ON ALL TABLES IN SCHEMA public TO {{}}", "REVOKE SELECT ON jobs FROM {}"), "1 of .*, jobs "),
        ((f"GRANT {ALL} ON ALL TABLES IN SCHEMA public TO {{}}", "REVOKE DELETE ON jobs FROM {}"), "1 of .*, jobs "),
        (("REVOKE USAGE ON SCHEMA public FROM PUBLIC",), "needs .* may not change it"),
    ],
)
async def test_a_role_without_rights(database: str, tmp_path: Path, grants: tuple[str, ...], said: str) -> None:
    connection = await asyncpg.connect(database)
    try:
        await connection.execute(f"DROP ROLE IF EXISTS {GUEST}; CREATE ROLE {GUEST} LOGIN")
        for grant in grants:
            await connection.execute(grant.format(GUEST))
        told = await start(database.replace("lorax@", f"{GUEST}@"), tmp_path)
        assert re.search(said, told), told
    finally:
        await connection.execute(f"DROP OWNED BY {GUEST}; DROP ROLE {GUEST}")
        await connection.close()


async def test_a_database_that_takes_no_writes(empty_database: str, tmp_path: Path) -> None:
    told = await start(f"{empty_database}&options=-c%20default_transaction_read_only%3Don", tmp_path)
    assert "take writes when the service starts" in told


async def test_tables_of_others_in_our_schema_are_none_of_our_business(database: str, tmp_path: Path) -> None:
    connection = await asyncpg.connect(database)
    try:
        await connection.execute(f"DROP ROLE IF EXISTS {GUEST}; CREATE ROLE {GUEST} LOGIN")
        await connection.execute(f"GRANT {ALL} ON ALL TABLES IN SCHEMA public TO {GUEST}")
        await connection.execute("CREATE TABLE of_others ()")
        guest = database.replace("lorax@", f"{GUEST}@")
        async with open_stores(load_settings(role=Role.API, database_url=guest, object_store=str(tmp_path))):
            pass
        await connection.execute("DROP TABLE of_others")
    finally:
        await connection.execute(f"DROP OWNED BY {GUEST}; DROP ROLE {GUEST}")
        await connection.close()
