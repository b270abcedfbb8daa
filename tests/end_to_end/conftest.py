"""A service process and its simulated servers, shared by the tests of a module."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from lorax_batch_client import Client

from tests.processes import Service


@pytest.fixture(scope="module")
def service_directory(postgres_directory: Path, request: pytest.FixtureRequest) -> Path:
    """Return a folder that the service's PostgreSQL may pass through."""
    directory = postgres_directory / request.path.stem
    directory.mkdir(mode=0o755)
    return directory


@pytest.fixture
def client(service: Service) -> Iterator[Client]:
    """Yield a client of the module's service."""
    with service.client() as client:
        yield client


@pytest.fixture(scope="module")
def serve(service_directory: Path) -> Iterator[Callable[..., Service]]:
    """Yield what starts the module's service; pytest shows its log when a test failed."""
    started: list[Service] = []

    def start(*servers: str, settings: str = "") -> Service:
        config = service_directory / "settings.toml"
        config.write_text(settings, encoding="utf-8")
        service = Service(service_directory, *servers, arguments=("--config", str(config)))
        started.append(service)
        service.start()
        return service

    yield start
    for service in started:
        try:
            assert service.stop() == 0
        finally:
            service.close()


@pytest.fixture(autouse=True)
def _show_log(request: pytest.FixtureRequest) -> Iterator[None]:
    directory = request.getfixturevalue("service_directory") if "service" in request.fixturenames else None
    log = directory / "service.log" if directory is not None else None
    start = log.stat().st_size if log is not None and log.exists() else 0
    yield
    if log is not None and log.exists():
        with log.open(encoding="utf-8") as file:
            file.seek(start)
            print(file.read()[-9000:])
