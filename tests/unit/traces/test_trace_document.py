"""docs/trace-format.md says what is so."""

import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
from lorax_batch_scheduler.replay import load_trace, parse_trace, replay_trace
from lorax_batch_scheduler.replay import trace as trace_module
from lorax_batch_scheduler.replay.trace import GPU_KINDS, VERSION

DOCUMENT = (Path(__file__).parents[3] / "docs/trace-format.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", DOCUMENT, re.DOTALL)


@pytest.fixture
def example(tmp_path: Path) -> Path:
    (block,) = blocks("json")
    path = tmp_path / "example.json"
    path.write_text(block, encoding="utf-8")
    return path


def test_the_example_can_be_replayed(example: Path) -> None:
    run = replay_trace(load_trace(example))
    assert all(job.finish is not None for job in run.outcome.jobs)


def test_the_python_of_replays_runs(example: Path, capsys: pytest.CaptureFixture[str]) -> None:
    exec(blocks("python")[0], {"path": example})
    assert "fifo_share" in capsys.readouterr().out


def test_the_python_of_the_planner_starts_a_server(capsys: pytest.CaptureFixture[str]) -> None:
    exec(blocks("python")[1], {})
    assert "('gpu-0', 'mistral'" in capsys.readouterr().out


def test_every_field_is_described() -> None:
    structs = [
        kind for kind in vars(trace_module).values() if isinstance(kind, type) and issubclass(kind, msgspec.Struct)
    ]
    cells = set(re.findall(r"`([a-z_]+)`", "\n".join(re.findall(r"^\| (.*?) \|", DOCUMENT, re.MULTILINE))))
    fields: set[Any] = {name for kind in structs for name in kind.__struct_fields__}
    assert len(structs) > 8
    assert fields <= cells


def test_every_gpu_kind_and_the_version_are_named() -> None:
    assert all(f"`{kind}`" in DOCUMENT for kind in GPU_KINDS)
    assert f"# The trace format, version {VERSION}" in DOCUMENT


def test_the_example_has_every_part(example: Path) -> None:
    trace = parse_trace(example.read_bytes())
    assert trace.tenants
    assert trace.failures
    assert any(job.drawn for job in trace.jobs)
    assert any(job.rows for job in trace.jobs)
