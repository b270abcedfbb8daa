"""One data directory for all deaths of a module: each life finds what the ones before have left."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.failpoints.crash import Place
from tests.processes import Service, Simulator
from tests.s3_fixtures import store_url_at

# A lease is renewed 5 times in its time, and that is a failpoint too; rows that hang are let go soon.
SETTINGS = "lease_s = 1.0\nshutdown_grace_s = 1.0\n"


@pytest.fixture(scope="module")
def simulator() -> Iterator[Simulator]:
    with Simulator("--time-scale", "0") as simulator:
        yield simulator


@pytest.fixture(scope="module")
def place(postgres_directory: Path, simulator: Simulator, request: pytest.FixtureRequest) -> Iterator[Place]:
    """Yield a service with the embedded PostgreSQL and objects in a directory, which does not run."""
    directory = postgres_directory / f"failpoints-{request.path.stem}"
    directory.mkdir(mode=0o755)
    yield from _place(directory, simulator, str(directory / "data" / "objects"))


@pytest.fixture(scope="module")
def s3_place(
    postgres_directory: Path, simulator: Simulator, moto_url: str, request: pytest.FixtureRequest
) -> Iterator[Place]:
    """Yield a service with the embedded PostgreSQL and objects in S3, which does not run."""
    directory = postgres_directory / f"failpoints-{request.path.stem}-s3"
    directory.mkdir(mode=0o755)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ACCESS_KEY_ID", "test")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "test")
        url = store_url_at(moto_url)
        yield from _place(directory, simulator, url)


def _place(directory: Path, simulator: Simulator, store_url: str) -> Iterator[Place]:
    config = directory / "settings.toml"
    config.write_text(SETTINGS, encoding="utf-8")
    service = Service(directory, simulator.url, arguments=("--config", str(config), "--object-store", store_url))
    yield Place(service=service, store_url=store_url)
    service.close()
    service.wait_postgres_ended()


@pytest.fixture(autouse=True)
def _show_log(request: pytest.FixtureRequest) -> Iterator[None]:
    """Print what the service logged during a test; pytest shows it when the test failed. Leave the service dead."""
    places = [request.getfixturevalue(name) for name in ("place", "s3_place") if name in request.fixturenames]
    yield
    for place in places:
        place.service.end()
        print(place.service.log.read_text(encoding="utf-8")[-9_000:])
