"""What a service is given to run a trace."""

import json
from pathlib import Path

import pytest
from lorax_batch_scheduler.catalogue import Catalogue
from lorax_batch_scheduler.replay import Trace, parse_trace
from lorax_batch_scheduler.replay.server_model import ServerModels
from lorax_batch_scheduler.replay.virtual_server import VirtualRow
from lorax_batch_scheduler.server_hosts.fleet_file import load_fleet
from lorax_batch_server.rehearsal import Stage, simplified
from lorax_batch_server.rehearsal.row_file import prompt_of, write_rows
from lorax_simulator import tokens
from lorax_simulator.speed_file import SpeedFile

TRACE = {
    "version": 1,
    "slots": [
        {"id": "GPU A", "kind": "a100-80", "memory_bytes": 80 << 30, "node": "one"},
        {"id": "GPU B", "kind": "l40s-48", "memory_bytes": 48 << 30, "node": "two", "speed": 0.5},
        {"id": "GPU C", "kind": "a100-80", "memory_bytes": 80 << 30, "node": "one"},
    ],
    "models": [
        {"name": "7b", "parameters": 7 * 10**9, "weight_bytes": 14 * 10**9, "kv_bytes_per_token": 131_072},
        {"name": "30b", "parameters": 30 * 10**9, "weight_bytes": 60 * 10**9, "kv_bytes_per_token": 131_072},
    ],
    "families": [
        {"id": "small", "model": "7b"},
        {"id": "other", "model": "7b", "adapter_bytes": 10**9},
        {"id": "large", "model": "30b"},
    ],
    "tenants": [{"id": "t"}],
    "jobs": [
        {
            "id": "j",
            "family": "small",
            "arrival_s": 5,
            "tenant": "t",
            "deadline_s": 900,
            "rows": [{"count": 3, "prompt_tokens": 40, "output_tokens": 7, "max_tokens": 20, "adapter": "a"}],
        }
    ],
    "failures": [{"slot": "GPU A", "time_s": 1, "duration_s": 2}],
}


@pytest.fixture
def trace() -> Trace:
    return parse_trace(json.dumps(TRACE).encode())


def test_the_service_can_read_what_the_stage_has_written(trace: Trace, tmp_path: Path) -> None:
    stage = Stage(trace, tmp_path, 0.05)
    stage.write()
    slots = load_fleet(stage.fleet_file).command
    assert [(each.slot.gpu_kind, each.slot.memory_bytes, each.slot.node) for each in slots] == [
        ("a100-80", 80 << 30, "node-0"),
        ("l40s-48", 48 << 30, "node-1"),
        ("a100-80", 80 << 30, "node-0"),
    ]
    catalogue = Catalogue.load(tmp_path / "catalogue.toml")
    known = catalogue.resolve(stage.base_model("large"))
    assert (known.parameters, known.weight_bytes, known.kv_bytes_per_token) == (30 * 10**9, 60 * 10**9, 131_072)
    assert len({stage.base_model(family.id) for family in trace.families}) == 3


def test_servers_are_as_fast_as_the_replay_takes_them_to_be(trace: Trace, tmp_path: Path) -> None:
    stage = Stage(trace, tmp_path, 0.05)
    stage.write()
    half = load_fleet(stage.fleet_file).command[1]
    speeds = SpeedFile.read(Path(half.values["speed_file"]))
    assert len(speeds.models) == 2, "the large one fits only on the large slots"
    model = ServerModels(trace).on_slot("other", trace.slots[1])
    assert model is not None
    speed = speeds.of(f"trace/{stage.base_model('other')}")
    assert (speed.decode_base_s, speed.start_s) == (model.decode_base_s / 0.5, model.cold_start_s)
    assert (speed.kv_tokens, speed.adapter_slots) == (model.kv_tokens, model.adapter_slots)


def test_rows_have_the_tokens_of_the_trace(tmp_path: Path) -> None:
    row = VirtualRow(0, "adapter", 40, 7, 60)
    assert write_rows(tmp_path / "rows", [row] * 3) == 3
    lines = [json.loads(line) for line in (tmp_path / "rows").read_text().splitlines()]
    assert len({line["custom_id"] for line in lines}) == 3
    body = lines[0]["body"]
    assert (body["model"], body["max_tokens"]) == ("adapter", 20)
    assert tokens.count(body["prompt"]) == 40
    assert "[[7 tokens]]" in body["prompt"]


def test_the_shortest_prompt_still_says_how_long_its_answer_is() -> None:
    assert "[[500 tokens]]" in prompt_of(VirtualRow(0, "", 1, 500, 501))


def test_what_only_a_replay_knows_is_left_out_and_told(trace: Trace) -> None:
    played, left_out = simplified(trace)
    assert left_out == ["tenants", "deadlines", "failures"]
    assert (played.tenants, played.failures) == ([], [])
    assert (played.jobs[0].tenant, played.jobs[0].deadline_s) == ("", None)
    assert simplified(played)[1] == []
