"""Servers that are as fast as a file says, share what their node has downloaded, and log what they load."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from lorax_simulator.answer_text import draw, output_tokens
from lorax_simulator.faults import Faults
from lorax_simulator.hub import AdapterHub
from lorax_simulator.node_cache import NodeCache
from lorax_simulator.options import node_cache, read_arguments, server_options, start_delay_s
from lorax_simulator.timing import TIMINGS

SPEED = {
    "decode_base_s": 0.02,
    "decode_row_s": 0.0003,
    "prefill_base_s": 0.01,
    "prefill_token_s": 0.0001,
    "start_s": 1_000_000.0,
    "weights_download_s": 500_000.0,
    "adapter_factor": 1.5,
    "adapter_download_s": 3.0,
    "adapter_copy_s": 0.2,
    "adapter_load_s": 0.6,
    "adapter_offload_s": 0.1,
    "adapter_slots": 7,
    "kv_tokens": 12_345,
}


@pytest.fixture
def speed_file(tmp_path: Path) -> str:
    file = tmp_path / "speeds.json"
    file.write_text(json.dumps({"org/base": SPEED}))
    return str(file)


def test_a_server_is_as_fast_and_as_large_as_the_file_says(speed_file: str) -> None:
    options = server_options(read_arguments(["--model-id", "org/base", "--speed-file", speed_file]))
    assert options.timing.decode(10, with_adapters=True) == pytest.approx(1.5 * (0.02 + 10 * 0.0003))
    assert options.timing.prefill(100) == pytest.approx(0.02)
    assert (options.limits.max_batch_total_tokens, options.limits.max_active_adapters) == (12_345, 7)


def test_a_start_takes_the_download_only_on_a_node_without_the_weights(speed_file: str, tmp_path: Path) -> None:
    words = ["--model-id", "org/base", "--speed-file", speed_file, "--node-cache", str(tmp_path / "node")]
    arguments = read_arguments([*words, "--time-scale", "0.5", "--startup-delay", "10"])
    # What the process has taken itself, since it was started, is a part of it.
    assert start_delay_s(arguments) == pytest.approx(0.5 * 1_500_010, rel=0.1)
    node_cache(arguments).add("org/base")
    assert start_delay_s(arguments) == pytest.approx(0.5 * 1_000_010, rel=0.1)


def test_a_model_that_the_file_does_not_have_is_named(speed_file: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        read_arguments(["--model-id", "org/other", "--speed-file", speed_file])
    assert "says nothing of 'org/other': it has org/base" in capsys.readouterr().err


def test_a_file_with_a_missing_field_names_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "speeds.json"
    file.write_text(json.dumps({"org/base": {name: SPEED[name] for name in SPEED if name != "start_s"}}))
    with pytest.raises(SystemExit):
        read_arguments(["--speed-file", str(file)])
    assert "start_s" in capsys.readouterr().err


def test_an_empty_name_reads_no_file() -> None:
    assert server_options(read_arguments(["--speed-file", ""])).timing == TIMINGS["a100"]


def test_what_one_server_has_downloaded_another_of_its_node_only_copies(tmp_path: Path) -> None:
    first, second = (
        AdapterHub(model_id="base", timing=TIMINGS["a100"], faults=Faults(), seed=1, cache=NodeCache(tmp_path / "node"))
        for _ in range(2)
    )
    assert first.seconds("download", "org/a", "hub") >= TIMINGS["a100"].download_shortest
    first.note_download("org/a")
    assert second.seconds("download", "org/a", "hub") == TIMINGS["a100"].local_download
    assert second.seconds("download", "org/b", "hub") >= TIMINGS["a100"].download_shortest


def test_a_prompt_may_say_how_many_tokens_its_answer_has() -> None:
    chance = draw(model_id="base", adapter_id="", prompt="p", seed="1")
    assert output_tokens(chance, "[[33 tokens]] go", 50) == 33
    assert output_tokens(chance, "[[99 tokens]] go", 50) == 50
    assert output_tokens(chance, "[[0 tokens]] go", 50) == 1


def test_a_server_ends_with_the_process_that_it_was_told() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        words = [sys.executable, "-m", "lorax_simulator", "--port", "0", "--exit-with", str(other.pid)]
        with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as simulator:
            assert simulator.stdout is not None
            assert simulator.stdout.readline().startswith("http://")
            other.communicate(b"\n")
            assert simulator.wait(30) == 0
