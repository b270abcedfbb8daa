"""How much the fuzz tests try: a short, repeatable run by default, a long random one with `make fuzz SECONDS=600`."""

from collections.abc import Iterator
from random import Random

import pytest
from hypothesis import HealthCheck, settings

from tests.fuzz.effort import EXAMPLES, SEED

# Lines as long as a limit are what this is about, and a busy machine is slow.
_unhurried = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.function_scoped_fixture]


@pytest.fixture(autouse=True)
def _profile() -> Iterator[None]:
    """Run the property tests of this folder as `effort` says, and those of the others as they were."""
    before = settings.default
    profile = settings(
        deadline=None,
        max_examples=EXAMPLES,
        derandomize=SEED == 0,
        database=None,
        print_blob=True,
        suppress_health_check=_unhurried,
    )
    settings.register_profile("fuzz", profile)
    settings.load_profile("fuzz")
    yield
    settings.register_profile("before-fuzz", before)
    settings.load_profile("before-fuzz")


@pytest.fixture
def chance(request: pytest.FixtureRequest) -> Random:
    """Return chance of this test's own; the same in every run with the same seed."""
    return Random(f"{SEED} {request.node.name}")
