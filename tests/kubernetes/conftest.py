"""A fake cluster for each test."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.kubernetes.cluster import FakeCluster


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[FakeCluster]:
    async with FakeCluster(tmp_path).running() as cluster:
        yield cluster
