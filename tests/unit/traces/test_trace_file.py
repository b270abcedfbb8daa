"""Traces in and out of files."""

from pathlib import Path

from lorax_batch_scheduler.replay import dump_trace, load_trace, parse_trace
from lorax_batch_scheduler.replay.trace import Failure

from tests.unit.traces.small_trace import encoded, small_tree


def test_a_trace_that_is_written_is_read_as_it_was(tmp_path: Path) -> None:
    trace = parse_trace(encoded(small_tree()))
    (tmp_path / "trace.json").write_bytes(dump_trace(trace))
    assert load_trace(tmp_path / "trace.json") == load_trace(str(tmp_path / "trace.json")) == trace


def test_what_is_as_it_is_by_default_is_not_written() -> None:
    written = dump_trace(parse_trace(encoded(small_tree())))
    assert b"prompt_sigma" not in written
    assert b"gpu_kinds" not in written
    assert b'"seed": 1' in written


def test_a_byte_order_mark_is_accepted() -> None:
    assert parse_trace(b"\xef\xbb\xbf" + encoded(small_tree())).name == "small"


def test_a_gpu_kind_of_the_trace_can_be_used() -> None:
    tree = small_tree()
    figures = {"decode_base_s": 0.01, "decode_row_s": 0.0, "prefill_base_s": 0.01, "prefill_token_s": 0.0}
    tree["gpu_kinds"] = {"b200": figures}
    tree["slots"][0]["kind"] = "b200"
    assert parse_trace(encoded(tree)).gpu_kinds["b200"].cold_start_s == 90.0


def test_failures_of_one_slot_that_overlap_are_one() -> None:
    tree = small_tree()
    tree["failures"] = [
        {"slot": "s0", "time_s": 50, "duration_s": 10},
        {"slot": "s0", "time_s": 10, "duration_s": 30},
        {"slot": "s0", "time_s": 20, "duration_s": 5},
        {"slot": "s0", "time_s": 35, "duration_s": 15},
        {"slot": "s1", "time_s": 15, "duration_s": 1},
        {"slot": "s0", "time_s": 100, "duration_s": 1},
    ]
    assert parse_trace(encoded(tree)).failures == [
        Failure(slot="s0", time_s=10, duration_s=50),
        Failure(slot="s1", time_s=15, duration_s=1),
        Failure(slot="s0", time_s=100, duration_s=1),
    ]
