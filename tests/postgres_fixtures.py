"""A real PostgreSQL for tests: one server for each pytest worker, one migrated database for each test."""

import itertools
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest
import pytest_asyncio
from lorax_batch_scheduler.postgres.embedded import BATCH_SETTINGS, EmbeddedPostgres
from lorax_batch_scheduler.postgres.migrations import migrate

from tests.invariants.database import check_database

# Nothing here must survive a power cut; small buffers make the checkpoint of CREATE DATABASE cheap.
# As many connections as five processes of the service take, of which each has a pool, beside those of the test.
TEST_SETTINGS = {
    **BATCH_SETTINGS,
    "fsync": "off",
    "full_page_writes": "off",
    "shared_buffers": "32MB",
    "max_connections": "120",
}

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def postgres_directory() -> Iterator[Path]:
    """Yield a folder that any user can pass through: pytest's own are closed, and root's PostgreSQL is not root."""
    path = Path(tempfile.mkdtemp(prefix="lorax-batch-test-"))
    path.chmod(0o711)
    yield path
    shutil.rmtree(path)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def postgres(postgres_directory: Path) -> AsyncIterator[str]:
    """Yield the DSN of this worker's PostgreSQL, started when the first test needs it (about 0.5 s)."""
    server = EmbeddedPostgres(postgres_directory / "shared", settings=TEST_SETTINGS)
    dsn = await server.start()
    yield dsn
    await server.stop()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def template(postgres: str) -> str:
    """Return the name of a migrated database that nobody is connected to."""
    name = "migrated_template"
    if not await _exists(postgres, name):  # pytest sets a fixture up again when a test asked for it and was cut off
        await _run(postgres, f"CREATE DATABASE {name}")
    connection = await asyncpg.connect(with_database(postgres, name))
    try:
        await migrate(connection)
    finally:
        await connection.close()
    return name


@pytest_asyncio.fixture
async def database(postgres: str, template: str, request: pytest.FixtureRequest) -> AsyncIterator[str]:
    """Yield the DSN of a migrated, empty database of this test's own, which must be sound at the end.

    A test that damages it on purpose has the mark `damages_database(why)`.
    """
    name = f"test_{next(_numbers)}"
    dsn = with_database(postgres, name)
    # FILE_COPY of a small database takes 13 ms, WAL_LOG (the default) 33 ms.
    await _run(postgres, f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY FILE_COPY")
    yield dsn
    try:
        if request.node.get_closest_marker("damages_database") is None:
            await check_database(dsn, invented_results=True)
    finally:
        await _run(postgres, f"DROP DATABASE {name} WITH (FORCE)")


@pytest_asyncio.fixture
async def empty_database(postgres: str) -> AsyncIterator[str]:
    """Yield the DSN of a database that no migration has touched."""
    name = f"test_{next(_numbers)}"
    await _run(postgres, f"CREATE DATABASE {name} STRATEGY FILE_COPY")
    yield with_database(postgres, name)
    await _run(postgres, f"DROP DATABASE {name} WITH (FORCE)")


def with_database(dsn: str, name: str) -> str:
    """Return the DSN of another database of the same server."""
    return urlunsplit(urlsplit(dsn)._replace(path=f"/{name}"))


async def _exists(dsn: str, name: str) -> bool:
    connection = await asyncpg.connect(dsn)
    try:
        return bool(await connection.fetchval("SELECT count(*) FROM pg_database WHERE datname = $1", name))
    finally:
        await connection.close()


async def _run(dsn: str, statement: str) -> None:
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()
