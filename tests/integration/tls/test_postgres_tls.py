"""PostgreSQL over TLS: an authority of one's own, client certificates, and what is told when they do not fit."""

from pathlib import Path

import pytest
from lorax_batch_scheduler.errors import ConfigurationError
from lorax_batch_scheduler.postgres.database import Database
from lorax_batch_scheduler.postgres.driver_tls import driver_tls
from lorax_batch_scheduler.postgres.tls_dsn import with_tls
from lorax_batch_scheduler.tls.client_tls import ClientTls
from structlog.testing import capture_logs

from tests.bad_certificates import BAD_IDENTITIES
from tests.certificates import Authority, write_anew
from tests.integration.tls.conftest import tls_of
from tests.integration.tls.postgres_door import door_before


async def use(dsn: str) -> None:
    """Connect as a service does, and ask something."""
    database = Database(dsn, tls=driver_tls(dsn), max_connections=1)
    try:
        await database.open()
        async with database.connection() as connection:
            assert await connection.fetchval("SELECT count(*) FROM jobs") == 0
    finally:
        await database.close()


async def trouble_of(dsn: str) -> str:
    """Return why a service can't use that PostgreSQL."""
    with pytest.raises(ConfigurationError) as caught:
        await use(dsn)
    return str(caught.value)


async def test_with_an_authority_the_server_must_be_the_one_that_is_named(
    database: str, authority: Authority, other: Authority
) -> None:
    tls = tls_of("database", ca=authority.file)
    async with door_before(database, authority.issue(hosts=["localhost"])) as door:
        await use(with_tls(door.dsn(), tls))
        assert door.tls_connections == 1
        assert "for another name" in await trouble_of(with_tls(door.dsn(host="127.0.0.1"), tls))
        await use(with_tls(door.dsn(host="127.0.0.1", query="?sslmode=verify-ca"), tls))
        strange = tls_of("database", ca=other.file)
        assert "set database_ca to" in await trouble_of(with_tls(door.dsn(), strange))
    for days in ((-9, -1), (1, 9)):
        async with door_before(database, authority.issue(days=days)) as door:
            assert "set the clocks right" in await trouble_of(with_tls(door.dsn(), tls))
    async with door_before(database, None) as door:
        assert "it talks no TLS: set ssl = on" in await trouble_of(with_tls(door.dsn(), tls))


async def test_a_server_may_ask_for_a_client_certificate(database: str, authority: Authority, other: Authority) -> None:
    async with door_before(database, authority.issue(), client_ca=authority.file) as door:
        await use(with_tls(door.dsn(), tls_of("database", ca=authority.file, own=authority.issue("mine"))))
        for own in (None, other.issue("stranger")):
            said = await trouble_of(with_tls(door.dsn(), tls_of("database", ca=authority.file, own=own)))
            assert "set database_cert and database_key" in said


async def test_new_files_count_from_the_next_connection_on(
    database: str, authority: Authority, other: Authority
) -> None:
    trusted = authority.file.with_name("changing.pem")
    write_anew(trusted, other.file.read_bytes())
    async with door_before(database, authority.issue()) as door:
        dsn = with_tls(door.dsn(), tls_of("database", ca=trusted))
        assert "set database_ca to" in await trouble_of(dsn)
        write_anew(trusted, authority.file.read_bytes())
        await use(dsn)


async def test_files_that_cannot_be_used_change_nothing(database: str, authority: Authority) -> None:
    mine = authority.issue("mine")
    async with door_before(database, authority.issue(), client_ca=authority.file) as door:
        dsn = with_tls(door.dsn(), tls_of("database", ca=authority.file, own=mine))
        live = Database(dsn, tls=driver_tls(dsn), max_connections=1)
        try:
            await live.open()
            before = door.tls_connections
            write_anew(mine.key, authority.issue("other").key.read_bytes())
            with capture_logs() as said:
                await live.come_back(0.0, patience_s=0)
                async with live.connection() as connection:
                    assert await connection.fetchval("SELECT 1") == 1
            assert door.tls_connections > before
            assert [entry["event"] for entry in said] == ["certificates_not_reloaded"]
        finally:
            await live.close()


@pytest.mark.parametrize("query", ["", "sslmode=require", "sslmode=prefer&sslrootcert=x", "sslmode=verify-full"])
def test_without_an_authority_the_driver_does_as_it_is_told(query: str) -> None:
    assert driver_tls(f"postgresql://h/d?{query}") is None
    assert driver_tls(f"postgresql://[h/d?{query}") is None


def test_what_the_driver_takes_from_elsewhere_is_not_lost(authority: Authority, tmp_path: Path) -> None:
    dsn = f"postgresql://h/d?sslmode=verify-full&sslrootcert={authority.file}"
    home = {"HOME": str(tmp_path)}
    assert driver_tls(dsn, home) is not None
    assert driver_tls(dsn, home | {"PGSSLCERT": "own.pem"}) is None
    (tmp_path / ".postgresql").mkdir()
    (tmp_path / ".postgresql/root.crl").touch()
    assert driver_tls(dsn, home) is None


@pytest.mark.parametrize("fault", BAD_IDENTITIES)
def test_bad_files_are_told_with_their_setting_or_their_place_in_the_url(fault: str, authority: Authority) -> None:
    spoil, at_fault, said = BAD_IDENTITIES[fault]
    spoiled = spoil(authority, authority.issue())
    with pytest.raises(ConfigurationError, match=said) as refused:
        tls_of("database", own=spoiled)
    assert str(refused.value).startswith(f"database_{at_fault} '")
    with pytest.raises(ConfigurationError, match=said) as refused:
        with_tls(f"postgresql://h/d?sslcert={spoiled.cert}&sslkey={spoiled.key}", ClientTls())
    assert str(refused.value).startswith(f"ssl{at_fault} of database_url '")


def test_settings_and_url_may_not_contradict_each_other(authority: Authority) -> None:
    tls = tls_of("database", ca=authority.file)
    with pytest.raises(ConfigurationError, match="database_ca is set, and database_url has sslrootcert as well"):
        with_tls(f"postgresql://h/d?sslrootcert={authority.file}", tls)
    with pytest.raises(ConfigurationError, match="database_ca is set, but sslmode=prefer"):
        with_tls("postgresql://h/d?sslmode=prefer", tls)
    with pytest.raises(ConfigurationError, match="sslrootcert=system of database_url: give the file"):
        with_tls("postgresql://h/d?sslrootcert=system", ClientTls())
    assert with_tls("postgresql://[h/d", ClientTls()) == "postgresql://[h/d"
    assert with_tls("postgresql://h/d?sslmode=disable", ClientTls()) == "postgresql://h/d?sslmode=disable"
