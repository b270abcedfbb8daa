"""A service's history as a trace, and the trace replayed."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from lorax_batch_client import Client
from lorax_batch_scheduler.replay import load_trace, replay_trace

from tests.end_to_end.job_story import MODEL, submit
from tests.end_to_end.rows import make_rows
from tests.processes import Service, Simulator

pytestmark = pytest.mark.timeout(60)


@pytest.fixture(scope="module")
def simulator() -> Iterator[Simulator]:
    with Simulator("--time-scale", "0.01") as simulator:
        yield simulator


@pytest.fixture(scope="module")
def service(serve: Callable[..., Service], simulator: Simulator) -> Service:
    return serve(simulator.url)


def run_command(service: Service, *arguments: str) -> str:
    command = [sys.executable, "-m", "lorax_batch_server", *arguments]
    environment = {"LORAX_BATCH_TARGET": service.target}
    ended = subprocess.run(command, capture_output=True, text=True, timeout=30, env=environment, check=False)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def test_what_was_run_is_recorded_and_replayed(service: Service, client: Client, tmp_path: Path) -> None:
    stories = [submit(client, make_rows(tag, 60, adapters=("a", "b", ""), max_tokens=16)) for tag in ("one", "two")]
    jobs = [story.finish() for story in stories]
    path = tmp_path / "trace.json"
    run_command(service, "jobs", "record", "-o", str(path), "--base-model", MODEL, "--since", "1h")
    trace = load_trace(path)
    assert [job.id for job in trace.jobs] == [job.job_id for job in jobs]
    assert len(trace.slots) == 1
    for recorded, job in zip(trace.jobs, jobs, strict=True):
        by_adapter = {group.adapter: 0 for group in recorded.rows}
        for group in recorded.rows:
            by_adapter[group.adapter] += group.count
        assert by_adapter == {"a": 20, "b": 20, "": 20}
        made = sum(group.count * group.output_tokens for group in recorded.rows)
        assert made == pytest.approx(job.usage.completion_tokens, rel=0.15)
    assert all(job.finish is not None for job in replay_trace(trace).outcome.jobs)
    assert "2 jobs, 120 rows, 1 slot" in run_command(service, "plan", str(path), "--policy", "all")
