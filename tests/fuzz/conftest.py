"""Chance for the fuzz tests."""

from random import Random

import pytest

from tests.fuzz.effort import SEED


@pytest.fixture
def chance(request: pytest.FixtureRequest) -> Random:
    """Return chance of this test's own; the same in every run with the same seed."""
    return Random(f"{SEED} {request.node.name}")
