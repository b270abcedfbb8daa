"""`lorax-batch doctor` connects as the service would: with the same files, over TLS."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.certificates import Authority, Issued
from tests.integration.doctor.ask import doctor
from tests.integration.tls.postgres_door import door_before
from tests.otlp_collector import otlp_collector
from tests.processes import Simulator
from tests.tls_proxy import tls_before


@pytest.fixture(scope="module")
def simulator() -> Iterator[Simulator]:
    with Simulator() as simulator:
        yield simulator


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def files(prefix: str, authority: Authority, own: Issued) -> dict[str, str]:
    """Return the variables that name them."""
    named = {"CA": authority.file, "CERT": own.cert, "KEY": own.key}
    return {f"LORAX_BATCH_{prefix}_{name}": str(path) for name, path in named.items()}


async def test_what_the_service_reaches_the_doctor_reaches(
    database: str, simulator: Simulator, moto_url: str, moto_store_url: str, authority: Authority, tmp_path: Path
) -> None:
    own, server = authority.issue("mine"), authority.issue()
    async with (
        door_before(database, server, client_ca=authority.file) as door,
        tls_before(moto_url, server, client_ca=authority.file) as store,
        tls_before(moto_url, server, client_ca=authority.file) as other_store,
        tls_before(simulator.url, server, client_ca=authority.file) as lorax,
    ):
        place = moto_store_url.replace(moto_url, store)
        arguments = ("--database-url", door.dsn(), "--object-store", place, "--server", lorax, "--data-dir", tmp_path)
        theirs = moto_store_url.replace(moto_url, other_store).replace("/store?", "/theirs?")
        buckets = {"LORAX_BATCH_IMPORT_BUCKETS": theirs, "LORAX_BATCH_EXPORT_BUCKETS": f"s3://no-such-{theirs[5:]}"}
        asked = ("database version", "object store", "object store clock", "import_buckets", f"server {lorax}")
        trusting = {
            name: value
            for prefix in ("DATABASE", "OBJECT_STORE", "BUCKET", "SERVER")
            for name, value in files(prefix, authority, own).items()
        }
        _, found = await doctor(*arguments, environment={**buckets, **trusting})
        assert {check: found[check]["verdict"] for check in asked} == dict.fromkeys(asked, "ok")
        assert "the store's" in found["object store clock"]["message"]
        assert found["export_buckets"]["verdict"] == "error"
        assert "there is no bucket" in found["export_buckets"]["message"]
        _, found = await doctor(*arguments, environment=buckets)
        for check, setting in (
            ("object store", "object_store_ca"),
            ("import_buckets", "bucket_ca"),
            (f"server {lorax}", "server_ca"),
        ):
            assert f"set {setting}" in found[check]["message"]


async def test_files_that_the_service_would_refuse_are_told_all_at_once(authority: Authority, tmp_path: Path) -> None:
    one, other = authority.issue("one"), authority.issue("other")
    (tmp_path / "keys").write_text("k1:c2hvcnQ=")
    (tmp_path / "operator.key").write_text("short")
    status, found = await doctor(
        *("--tls-cert", one.cert, "--tls-key", other.key, "--data-dir", tmp_path / "data"),
        *("--secrets-key-file", tmp_path / "keys", "--operator-key-file", tmp_path / "operator.key"),
        environment={"LORAX_BATCH_SERVER_CA": str(one.key), "SSL_CERT_FILE": str(tmp_path / "none.pem")},
    )
    assert status == 1
    for check, said in (
        ("listener", "tls_key"),
        ("TLS of server_*", "server_ca"),
        ("secrets", "has 5 bytes, but needs 32"),
        ("operator key", "operator_key_file"),
        ("certificate authorities", "SSL_CERT_FILE"),
    ):
        assert found[check]["verdict"] == "error"
        assert said in found[check]["message"]


async def test_an_open_listener_is_told_as_serve_would(tmp_path: Path) -> None:
    _, found = await doctor("--listen", "0.0.0.0:0", "--data-dir", tmp_path)
    assert "--allow-insecure" in found["listener"]["message"]


async def test_the_collector_is_asked_as_spans_are_sent(authority: Authority, tmp_path: Path) -> None:
    with otlp_collector() as collector:
        there = {"LORAX_BATCH_OTLP_ENDPOINT": collector.endpoint}
        assert (await doctor("--data-dir", tmp_path, environment=there))[1]["collector"]["verdict"] == "ok"
        secure = {"LORAX_BATCH_OTLP_ENDPOINT": collector.endpoint.replace("http:", "https:")}
        _, found = await doctor("--data-dir", tmp_path, environment=secure)
        assert found["collector"]["verdict"] == "warning"
        missing = {**secure, "OTEL_EXPORTER_OTLP_CERTIFICATE": str(tmp_path / "none.pem")}
        _, found = await doctor("--data-dir", tmp_path, environment=missing)
        assert "OTEL_EXPORTER_OTLP_CERTIFICATE" in found["collector"]["message"]
