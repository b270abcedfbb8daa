"""An installed PostgreSQL with `ssl = on`: what the door before the one of ours can not show."""

from pathlib import Path

import asyncpg
import pytest
from lorax_batch_scheduler.errors import ConfigurationError
from lorax_batch_scheduler.postgres.binaries import BIN_VARIABLE
from lorax_batch_scheduler.postgres.database import Database
from lorax_batch_scheduler.postgres.tls_dsn import with_tls

from tests.certificates import Authority
from tests.integration.tls.conftest import tls_of
from tests.integration.tls.tls_postgres import TlsPostgres, programs_with_tls


async def is_encrypted(dsn: str) -> bool:
    """Tell whether connections of a service are encrypted."""
    database = Database(dsn, max_connections=1)
    try:
        await database.open()
        async with database.connection() as connection:
            return bool(await connection.fetchval("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"))
    finally:
        await database.close()


@pytest.mark.skipif(
    programs_with_tls() is None, reason="NO POSTGRESQL WITH TLS IS INSTALLED: only a stand-in was tested"
)
async def test_roles_connect_over_tls_alone_and_with_the_certificate_that_one_needs(
    postgres_directory: Path, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(BIN_VARIABLE, str(programs_with_tls()))
    server = TlsPostgres(postgres_directory / "tls")
    await server.start(authority.issue(hosts=["localhost"]), authority.file)
    try:
        plain, with_own = tls_of("database", ca=authority.file), authority.issue("certified")
        assert await is_encrypted(with_tls(server.dsn(), plain))
        with pytest.raises(ConfigurationError, match="no encryption"):
            await is_encrypted(server.dsn(query="?sslmode=disable"))
        connection = await asyncpg.connect(with_tls(server.dsn(), plain))
        await connection.execute("CREATE ROLE certified LOGIN")
        await connection.close()
        certified = server.dsn(user="certified")
        assert await is_encrypted(with_tls(certified, tls_of("database", ca=authority.file, own=with_own)))
        with pytest.raises(ConfigurationError, match="set database_cert and database_key"):
            await is_encrypted(with_tls(certified, plain))
    finally:
        await server.stop()
