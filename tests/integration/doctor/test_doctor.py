"""`lorax-batch doctor` against what a service needs, working and broken."""

import asyncio
import socket
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest
from lorax_batch_server.cli.application import application
from typer.testing import CliRunner

from tests.faults.refusing_server import RefusingServer
from tests.integration.doctor.ask import doctor
from tests.processes import Simulator


@pytest.fixture(scope="module")
def simulator() -> Iterator[Simulator]:
    with Simulator() as simulator:
        yield simulator


async def test_all_is_well(database: str, simulator: Simulator, tmp_path: Path) -> None:
    store = tmp_path / "store"
    status, found = await doctor(
        "--database-url", database, "--object-store", store, "--server", simulator.url, "--data-dir", tmp_path
    )
    # The tests' PostgreSQL writes without syncing; all else is as it should be.
    wrong = {check for check, finding in found.items() if finding["verdict"] == "error"}
    assert wrong <= {"database settings"}
    assert status == (1 if wrong else 0)
    assert {"database version", "database rights", "database schema", "database clock", "database bloat"} <= set(found)
    assert "mistral" in found[f"server {simulator.url}"]["message"].lower()
    assert found["object store"]["message"] == "an object was written, read and deleted"
    assert [path for path in store.rglob("probe-*") if path.is_file()] == []


async def test_a_database_that_does_not_answer_is_an_error(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    status, found = await doctor("--database-url", f"postgresql://u@127.0.0.1:{port}/x", "--data-dir", tmp_path)
    assert status == 1
    assert found["database"]["verdict"] == "error"
    assert found["database"]["advice"]
    assert "u@" not in found["database"]["message"]


async def test_a_role_without_rights_is_told_what_to_grant(database: str, tmp_path: Path) -> None:
    connection = await asyncpg.connect(database)
    try:
        await connection.execute("DROP ROLE IF EXISTS doctor_guest")
        await connection.execute("CREATE ROLE doctor_guest LOGIN")
        guest = database.replace("lorax@", "doctor_guest@")
        assert guest != database
        status, found = await doctor("--database-url", guest, "--data-dir", tmp_path)
        assert status == 1
        assert found["database rights"]["verdict"] == "error"
        assert "GRANT" in found["database rights"]["advice"]
        assert "doctor_guest" in found["database rights"]["advice"]
    finally:
        await connection.execute("DROP ROLE doctor_guest")
        await connection.close()


@pytest.mark.damages_database("its schema is of a later version")
async def test_a_newer_schema_is_told(database: str, tmp_path: Path) -> None:
    connection = await asyncpg.connect(database)
    await connection.execute("INSERT INTO schema_migrations (version, name, sha256) VALUES (9999, 'later', 'x')")
    await connection.close()
    status, found = await doctor("--database-url", database, "--data-dir", tmp_path)
    assert status == 1
    assert "newer than this program's" in found["database schema"]["message"]


async def test_an_s3_store_is_probed_and_asked_for_the_time(moto_store_url: str, tmp_path: Path) -> None:
    _, found = await doctor("--object-store", moto_store_url, "--data-dir", tmp_path)
    assert found["object store"]["verdict"] == "ok"
    assert found["object store clock"]["verdict"] == "ok"


async def test_a_bucket_that_may_not_be_written_is_an_error(s3_credentials: None, tmp_path: Path) -> None:
    with RefusingServer(403, "AccessDenied") as server:
        url = f"s3://bucket/prefix?endpoint=http://{server.address}&region=us-east-1"
        status, found = await doctor("--object-store", url, "--data-dir", tmp_path)
    assert status == 1
    assert found["object store"]["verdict"] == "error"
    assert "credentials" in found["object store"]["advice"]


async def test_a_server_that_is_away_is_a_warning_only(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    status, found = await doctor("--server", url, "--data-dir", tmp_path)
    assert status == 0
    assert found[f"server {url}"]["verdict"] == "warning"


async def test_a_wrong_setting_and_a_wrong_file_are_told(tmp_path: Path) -> None:
    config = tmp_path / "settings.toml"
    config.write_text("metrics_port = 99999\n")
    status, found = await doctor("--config", config)
    assert status == 1
    assert "metrics_port" in found["configuration"]["message"]
    fleet = tmp_path / "fleet.toml"
    fleet.write_text("nonsense = 1\n")
    status, found = await doctor("--fleet", fleet, "--data-dir", tmp_path)
    assert status == 1
    assert found["fleet"]["verdict"] == "error"


async def test_a_variable_that_is_no_setting_is_a_warning(tmp_path: Path) -> None:
    status, found = await doctor("--data-dir", tmp_path, environment={"LORAX_BATCH_METRIC_PORT": "1"})
    assert status == 0
    assert "LORAX_BATCH_METRIC_PORT" in found["configuration"]["message"]


async def test_people_read_what_to_do(tmp_path: Path) -> None:
    result = await asyncio.to_thread(CliRunner().invoke, application, ["doctor", "--data-dir", str(tmp_path)])
    assert result.exit_code == 0
    assert "warning  fleet: there is no server to run rows on\n         -> give --server URL" in result.stdout
