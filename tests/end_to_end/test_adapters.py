"""Adapters: warmed by one row, and kept together. Bad ones are in `tests/faults/test_lorax_adapters.py`."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from lorax_batch_client import Client

from tests.end_to_end.job_story import submit
from tests.end_to_end.poll import poll_until
from tests.end_to_end.result_files import check_all_rows, download_files
from tests.end_to_end.rows import make_rows
from tests.processes import Service, Simulator

pytestmark = pytest.mark.timeout(60)


@pytest.fixture(scope="module")
def simulator() -> Iterator[Simulator]:
    with Simulator("--time-scale", "0.03", "--max-active-adapters", "2") as simulator:
        yield simulator


@pytest.fixture(scope="module")
def service(serve: Callable[..., Service], simulator: Simulator) -> Service:
    return serve(simulator.url)


def received(simulator: Simulator, tag: str) -> int:
    counts = simulator.ask("requests")["received"]
    return sum(count for key, count in counts.items() if key.startswith(f"m#{tag}x"))


def test_one_row_loads_an_adapter_before_the_others_are_sent(
    client: Client, simulator: Simulator, tmp_path: Path
) -> None:
    simulator.ask("faults", {"on": ["adapter-slow=org/slow"]})
    rows = make_rows("slow", 100, adapters=("org/slow",))
    story = submit(client, rows)
    poll_until(lambda: received(simulator, "slow"), lambda count: count >= 1)
    seen = set()

    def adapter_state() -> str:
        # The count is read first: it belongs to a moment before the state.
        count = received(simulator, "slow")
        state: str = simulator.ask("stats")["adapters"]["org/slow"]
        if "download" in state.lower():
            seen.add(count)
        return state

    poll_until(adapter_state, lambda state: "download" not in state.lower())
    simulator.ask("faults", {"clear": True})
    assert seen == {1}
    job = story.finish()
    assert job.counts.succeeded == 100
    check_all_rows(download_files(client, job, tmp_path), rows)


def test_rows_of_an_adapter_are_kept_together(client: Client, simulator: Simulator, tmp_path: Path) -> None:
    adapters = tuple(f"org/together-{number}" for number in range(8))
    before = simulator.ask("stats")["adapter_loads"]
    rows = make_rows("together", 800, adapters=adapters)
    job = submit(client, rows).finish()
    assert job.counts.succeeded == 800
    check_all_rows(download_files(client, job, tmp_path), rows)
    assert 8 <= simulator.ask("stats")["adapter_loads"] - before <= 12
