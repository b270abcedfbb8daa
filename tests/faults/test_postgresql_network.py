"""The way to an external PostgreSQL breaks under a running job, or PostgreSQL refuses what it took before."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.end_to_end.poll import poll_until
from tests.faults.external_postgres import ExternalPostgres
from tests.faults.proxy import Proxy
from tests.faults.running_job import SLOW, check_calls_fail_quickly, is_serving, started_job, wait_noticed
from tests.processes import Service, Simulator

pytestmark = pytest.mark.timeout(90)

TIMEOUT_S = 1.0
LONG_LEASE = f"database_timeout_s = {TIMEOUT_S}\nlease_s = 60\n"


@pytest.fixture(scope="module")
def simulator() -> Iterator[Simulator]:
    with Simulator(*SLOW) as simulator:
        yield simulator


@pytest.fixture(scope="module")
def postgres(postgres_directory: Path) -> Iterator[ExternalPostgres]:
    server = ExternalPostgres(postgres_directory / "network-faults")
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def proxy(postgres: ExternalPostgres) -> Iterator[Proxy]:
    with Proxy(f"unix:{postgres.socket}") as proxy:
        yield proxy


@pytest.fixture(scope="module")
def service(proxy: Proxy, simulator: Simulator, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    directory = tmp_path_factory.mktemp("network")
    config = directory / "settings.toml"
    config.write_text(LONG_LEASE, encoding="utf-8")
    dsn = f"postgresql://lorax@{proxy.address}/postgres?sslmode=disable"
    service = Service(directory, simulator.url, arguments=("--config", str(config), "--database-url", dsn))
    service.start()
    yield service
    try:
        assert service.stop() == 0
    finally:
        service.close()


@pytest.fixture(autouse=True)
def _healed(service: Service, proxy: Proxy) -> Iterator[None]:
    start = service.log.stat().st_size
    yield
    proxy.heal()
    print(proxy)
    print(service.log.read_text()[start:][-6_000:])


def test_connections_are_cut(service: Service, simulator: Simulator, proxy: Proxy, tmp_path: Path) -> None:
    """Reset connections are opened again at once; no row is asked for twice."""
    with started_job(service, simulator, "cut") as job:
        assert proxy.cut() >= 10
        job.go_on("PostgreSQL's connections cut", within_s=5)
        job.finish(tmp_path)


def test_connections_are_cut_and_refused(service: Service, simulator: Simulator, proxy: Proxy, tmp_path: Path) -> None:
    """While PostgreSQL refuses connections calls fail at once, and the job goes on afterwards."""
    with started_job(service, simulator, "refused") as job:
        proxy.refuse()
        assert proxy.cut() >= 10
        wait_noticed(service, "PostgreSQL refuses connections", within_s=TIMEOUT_S + 2)
        check_calls_fail_quickly(service, "PostgreSQL is out of reach")
        proxy.heal()
        job.go_on("PostgreSQL accepts connections", within_s=5)
        job.finish(tmp_path)


def test_answers_are_late(service: Service, simulator: Simulator, proxy: Proxy, tmp_path: Path) -> None:
    """A PostgreSQL at the end of a slow line slows the job down, and nothing else."""
    with started_job(service, simulator, "late") as job:
        before = proxy.hits.delayed_blocks
        proxy.delay(0.1)
        job.go_on("PostgreSQL 100 ms away each way", within_s=10)
        assert is_serving(service)
        assert proxy.hits.delayed_blocks > before + 10
        proxy.heal()
        job.finish(tmp_path)


def test_the_line_is_narrow(service: Service, simulator: Simulator, proxy: Proxy, tmp_path: Path) -> None:
    """A PostgreSQL at the end of a line of 100 KB a second gets all results in the end."""
    with started_job(service, simulator, "narrow") as job:
        before = proxy.hits.throttled_blocks
        proxy.throttle(100_000)
        job.go_on("PostgreSQL at 100 KB/s", within_s=10)
        assert proxy.hits.throttled_blocks > before + 10
        proxy.heal()
        job.finish(tmp_path)


def test_the_way_is_a_black_hole(service: Service, simulator: Simulator, proxy: Proxy, tmp_path: Path) -> None:
    """A silent network is noticed within the timeout, and the dead connections that it left are replaced."""
    with started_job(service, simulator, "black hole") as job:
        before = proxy.hits.swallowed_bytes
        proxy.black_hole()
        wait_noticed(service, "PostgreSQL behind a black hole", within_s=TIMEOUT_S + 3)
        check_calls_fail_quickly(service, "PostgreSQL is out of reach: no answer within 1 s")
        assert proxy.hits.swallowed_bytes > before
        proxy.heal()
        job.go_on("black hole before PostgreSQL healed", within_s=10)
        poll_until(lambda: is_serving(service), bool)
        job.finish(tmp_path)


def test_postgresql_dies_while_the_answer_of_a_commit_is_lost(
    service: Service, simulator: Simulator, proxy: Proxy, postgres: ExternalPostgres, tmp_path: Path
) -> None:
    """A commit that was stored, but whose answer never came, is sent again and counted once."""
    with started_job(service, simulator, "lost answer") as job:
        done = int(job.story.check.job.counts.ended) if job.story.check.job else 0
        before = proxy.hits.swallowed_bytes
        proxy.lose_answer_to(b"COMMIT;")
        poll_until(lambda: stored_results(postgres, job.job_id), lambda count: count > done)
        postgres.kill()
        postgres.start()
        proxy.cut()
        proxy.heal()
        job.go_on("PostgreSQL restarted, a commit's answer lost", within_s=10)
        assert proxy.hits.swallowed_bytes > before
        job.finish(tmp_path)


def test_postgresql_is_out_of_connections(
    service: Service, simulator: Simulator, proxy: Proxy, postgres: ExternalPostgres, tmp_path: Path
) -> None:
    """A service that lost its connections to others waits until it gets some."""
    with started_job(service, simulator, "connections") as job:
        proxy.refuse()
        assert proxy.cut() > 0
        taken = postgres.take_all_connections()
        try:
            assert len(taken) > 10
            proxy.heal()
            wait_noticed(service, "PostgreSQL out of connections", within_s=TIMEOUT_S + 2)
            poll_until(lambda: "TooManyConnections" in service.log.read_text(), bool)
            check_calls_fail_quickly(service, "PostgreSQL is out of reach")
        finally:
            postgres.give_back(taken)
        job.go_on("PostgreSQL has connections again", within_s=10)
        job.finish(tmp_path)


def test_postgresql_is_read_only(
    service: Service, simulator: Simulator, postgres: ExternalPostgres, tmp_path: Path
) -> None:
    """While PostgreSQL takes no writes health says so, calls that read are answered, and results wait."""
    with started_job(service, simulator, "read-only") as job:
        postgres.run("ALTER SYSTEM SET default_transaction_read_only = on", "SELECT pg_reload_conf()")
        try:
            wait_noticed(service, "PostgreSQL read-only", within_s=5)
            with service.client() as client:
                assert not client.get_job(job.job_id).is_terminal
            poll_until(lambda: "ReadOnlySQLTransactionError" in service.log.read_text(), bool)
        finally:
            postgres.run(
                "SET default_transaction_read_only = off",
                "ALTER SYSTEM RESET default_transaction_read_only",
                "SELECT pg_reload_conf()",
            )
        job.go_on("PostgreSQL takes writes again", within_s=5)
        poll_until(lambda: is_serving(service), bool)
        job.finish(tmp_path)


def stored_results(postgres: ExternalPostgres, job_id: str) -> int:
    """Return how many results PostgreSQL holds, asked past the proxy."""
    return postgres.value("SELECT result_count FROM jobs WHERE job_id = $1", job_id)
