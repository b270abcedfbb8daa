"""A short run of chaos on each topology: no row is lost, doubled, or given the answer of another."""

import asyncio
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import lorax_batch_server.app  # noqa: F401 - names the failpoints
import pytest
from lorax_batch_scheduler.failpoints import KNOWN

from tests.faults.chaos.fault import FaultKind, Topology
from tests.faults.chaos.run import SHORT, run
from tests.faults.chaos.schedule import make_schedule

SEEDS = {Topology.EMBEDDED: 5, Topology.SHARED: 97}
"""Chosen for what `CONTAINED` names, which strikes first: on a slow machine the last faults find nothing to strike."""
CONTAINED = {
    Topology.EMBEDDED: {FaultKind.KILL_SERVICE, FaultKind.KILL_POSTMASTER},
    Topology.SHARED: {FaultKind.KILL_SERVICE, FaultKind.LINK_FAULT},
}
"""Kinds of fault that must have been seen to strike; failpoints and drains come too, but may find no moment."""
SECONDS = 10.0


@pytest.fixture
def directory() -> Iterator[Path]:
    """Yield a folder that any user can pass through."""
    path = Path(tempfile.mkdtemp(prefix="lorax-batch-chaos-"))
    path.chmod(0o711)
    yield path
    for log in sorted(path.glob("service-*/service.log")):  # pytest shows them when the test failed
        print(f"{log.parent.name}:\n{log.read_text()[-9_000:]}")
    shutil.rmtree(path)


@pytest.mark.timeout(180)
@pytest.mark.parametrize("topology", list(Topology))
def test_nothing_is_lost_and_nothing_twice(topology: Topology, directory: Path) -> None:
    """Every row is on exactly one line with its own answer, though a service and PostgreSQL or a link are struck."""
    seed = SEEDS[topology]
    faults = make_schedule(seed, SECONDS, topology, sorted(KNOWN))
    report = asyncio.run(run(topology, seed, SECONDS, faults, directory, size=SHORT, tell=print))
    print(report.text())
    assert report.passed, "\n".join(report.findings.texts)
    assert set(report.figures["faults"]) >= CONTAINED[topology], "a kind of fault that the seed contains had no effect"
    assert sum(report.kills.values()) >= 2, "hardly anything was killed"
    assert report.ledger.rows >= 100, "hardly any row was run"
