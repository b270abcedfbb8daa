"""Services that share a PostgreSQL and an object store, and what they and the simulated servers have witnessed."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.processes import Service, Simulator

LEASE_S = 1.0
SLOW = ("--time-scale", "0.1", "--max-concurrent-requests", "16")
Start = Callable[..., Service]


@pytest.fixture(scope="module")
def simulator() -> Iterator[Simulator]:
    """Yield a server that answers at once."""
    with Simulator("--time-scale", "0") as simulator:
        yield simulator


@pytest.fixture
def well_behaved(simulator: Simulator) -> Iterator[Simulator]:
    """Yield the server, and end its faults behind the test."""
    yield simulator
    simulator.ask("faults", {"clear": True})


@pytest.fixture
def start(database: str, tmp_path: Path) -> Iterator[Start]:
    """Yield what starts another service of the test's database; `wait=False` returns before it answers."""
    services: list[Service] = []

    def begin(
        *servers: str, failpoints: str = "", object_store: str = "", settings: str = "", wait: bool = True
    ) -> Service:
        directory = tmp_path / f"service-{len(services)}"
        directory.mkdir()
        config = directory / "settings.toml"
        config.write_text(f"lease_s = {LEASE_S}\n{settings}", encoding="utf-8")
        service = Service(
            directory,
            *servers,
            arguments=(
                *("--config", str(config), "--database-url", database),
                *("--object-store", object_store or str(tmp_path / "objects")),
            ),
        )
        services.append(service)
        service.begin(failpoints)
        if wait:
            service.wait_ready()
        return service

    yield begin
    for service in services:
        service.close()
    logs = [service.log.read_text(encoding="utf-8") for service in services]
    for log in logs:
        print(log[-6000:])
    assert not any("Traceback" in log for log in logs), "a service met what it did not expect"
