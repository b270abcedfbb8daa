"""Everything that can be wrong with a trace is an error that names the field."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from lorax_batch_scheduler.errors import InvalidInputError
from lorax_batch_scheduler.replay import load_trace, parse_trace

from tests.unit.traces.small_trace import GIB, encoded, small_tree

Tree = dict[str, Any]


def put(path: str, value: object) -> Callable[[Tree], None]:
    def change(tree: Tree) -> None:
        *way, last = path.split("/")
        at: Any = tree
        for step in way:
            at = at[int(step)] if step.isdigit() else at[step]
        at[int(last) if last.isdigit() else last] = value

    return change


def drop(path: str) -> Callable[[Tree], None]:
    def change(tree: Tree) -> None:
        *way, last = path.split("/")
        at: Any = tree
        for step in way:
            at = at[int(step)] if step.isdigit() else at[step]
        del at[last]

    return change


WRONG = [
    # missing
    (drop("version"), "trace.version", "is missing"),
    (drop("jobs"), "trace.jobs", "is missing"),
    (drop("slots/1/kind"), "trace.slots[1].kind", "is missing"),
    (drop("jobs/0/rows/0/count"), "trace.jobs[0].rows[0].count", "is missing"),
    (drop("jobs/1/drawn/seed"), "trace.jobs[1].drawn.seed", "is missing"),
    (put("gpu_kinds", {"x": {"decode_base_s": 1}}), "trace.gpu_kinds.x.decode_row_s", "is missing"),
    # not known
    (put("job", []), "trace.job", "did you mean 'jobs'?"),
    (put("slots/0/memory", 1), "trace.slots[0].memory", "did you mean 'memory_bytes'?"),
    (put("jobs/0/rows/0/tokens_out", 1), "trace.jobs[0].rows[0].tokens_out", "no field"),
    (put("families/0/zzz", 1), "trace.families[0].zzz", "known are: adapter_bytes, id, model"),
    # of another type
    (put("jobs", {}), "trace.jobs", "{} is wrong: must be a list"),
    (put("jobs/0", 7), "trace.jobs[0]", "7 is wrong: must be an object"),
    (put("name", 3), "trace.name", "3 is wrong: must be a text"),
    (put("jobs/0/arrival_s", "x"), "trace.jobs[0].arrival_s", '"x" is wrong: must be a number'),
    (put("jobs/0/rows/0/count", 1.5), "trace.jobs[0].rows[0].count", "1.5 is wrong: must be a whole number"),
    (put("jobs/0/rows/0/count", True), "trace.jobs[0].rows[0].count", "true is wrong: must be a whole number"),
    (put("jobs/0/deadline_s", "soon"), "trace.jobs[0].deadline_s", "must be a number or null"),
    (put("jobs/1/drawn/adapters/1", 5), "trace.jobs[1].drawn.adapters[1]", "5 is wrong: must be a text"),
    # out of range
    (put("jobs", []), "trace.jobs", "must be a list that is not empty"),
    (put("jobs/0/id", ""), "trace.jobs[0].id", "must be a text that is not empty"),
    (put("jobs/0/arrival_s", -1), "trace.jobs[0].arrival_s", "-1 is wrong: must be a number >= 0"),
    (put("jobs/0/rows/0/count", 0), "trace.jobs[0].rows[0].count", "0 is wrong: must be a whole number >= 1"),
    (put("jobs/0/rows/0/count", 10**30), "trace.jobs[0].rows[0].count", "whole number"),
    (put("jobs/0/priority", 101), "trace.jobs[0].priority", "<= 100"),
    (put("tenants/0/weight", 0), "trace.tenants[0].weight", "> 0"),
    (put("slots/0/memory_bytes", -5), "trace.slots[0].memory_bytes", "-5"),
    (put("failures/0/duration_s", -5), "trace.failures[0].duration_s", "-5"),
    (put("jobs/0/deadline_s", -5), "trace.jobs[0].deadline_s", "-5 is not after the arrival at 5"),
    (put("jobs/0/deadline_s", 5), "trace.jobs[0].deadline_s", "5 is not after the arrival at 5"),
    # what is referred to
    (put("slots/0/kind", "a100"), "trace.slots[0].kind", "'a100' is no GPU kind of the trace; did you mean 'a100-"),
    (put("families/0/model", "q"), "trace.families[0].model", "'q' is no model of the trace; known are: m"),
    (put("jobs/0/family", "h"), "trace.jobs[0].family", "'h' is no family"),
    (put("jobs/0/tenant", "nobody"), "trace.jobs[0].tenant", "'nobody' is no tenant"),
    (put("failures/0/slot", "s9"), "trace.failures[0].slot", "'s9' is no slot of the trace; known are: s0, s1"),
    # twice
    (put("slots/1/id", "s0"), "trace.slots[1].id", "'s0' is the id of slots[0] already"),
    (put("families/1/id", "f"), "trace.families[1].id", "'f'"),
    (put("tenants/1/id", "t"), "trace.tenants[1].id", "'t'"),
    (put("jobs/1/id", "j0"), "trace.jobs[1].id", "'j0'"),
    # rows
    (drop("jobs/1/drawn"), "trace.jobs[1].rows", "give 'rows' or 'drawn'"),
    (put("jobs/0/rows", []), "trace.jobs[0].rows", "give 'rows' or 'drawn'"),
    (put("jobs/1/rows", small_tree()["jobs"][0]["rows"]), "trace.jobs[1].drawn", "give one of the two"),
    (put("jobs/1/drawn/count", 20_000_000), "trace.jobs[1]", "20,000,040 rows"),
    # too large for every slot
    (
        put("models/0/weight_bytes", 140 * GIB),
        "trace.families[0].model",
        "fits on no slot: the largest, 's0', has 80.0",
    ),
    # versions
    (put("version", 2), "trace.version", "2 is not the version that is known here, 1"),
    (put("version", "1"), "trace.version", '"1" is not the version'),
    (put("version", True), "trace.version", "true is not the version"),
]


@pytest.mark.parametrize(
    ("change", "field", "said"), WRONG, ids=[f"{n}-{field}" for n, (_, field, _) in enumerate(WRONG)]
)
def test_the_error_names_the_field_and_what_is_wrong_with_it(
    change: Callable[[Tree], None], field: str, said: str
) -> None:
    tree = small_tree()
    change(tree)
    with pytest.raises(InvalidInputError) as caught:
        parse_trace(encoded(tree))
    assert caught.value.field == field
    assert said in caught.value.message


def test_another_version_is_refused_whatever_else_it_has() -> None:
    with pytest.raises(InvalidInputError, match="the version that is known here"):
        parse_trace(b'{"version": 2, "clusters": []}')


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b'{\n  "version" 1}', "is not JSON: expecting ':' delimiter (line 2, column 13)"),
        (b"", "is not JSON: expecting value (line 1, column 1)"),
        (b'{"version": 1} x', "line 1, column 16"),
        (b'{"a": 1,\n "b\xff": 2}', "is not UTF-8 (line 2, byte 13 of the file)"),
        (b"[]", "must be a JSON object"),
        (b"[" * 100_000, "is nested too deeply"),
        (b'{"version": 1, "name": "\\ud83d"}', "has \\ud83d without the other half"),
        (b'{"version": NaN}', "trace.version: NaN is not the version"),
        (b'{"version": ' + b"1" * 5_000 + b"}", "has a number of 5,000 digits: 11111111111111111111..."),
        (b'{"version": 1, "version": 1}', "has the field 'version' twice"),
    ],
)
def test_a_file_that_is_no_json_object_says_where_it_ends_to_be_one(data: bytes, said: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        parse_trace(data)
    assert said in str(caught.value)


@pytest.mark.parametrize("number", ["1e999", "-1e999"])
def test_a_number_that_is_infinite_is_refused(number: str) -> None:
    data = encoded(small_tree()).replace(b'"deadline_s": 3600', f'"deadline_s": {number}'.encode())
    with pytest.raises(InvalidInputError) as caught:
        parse_trace(data)
    assert caught.value.field == "trace.jobs[0].deadline_s"


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity"])
def test_a_constant_that_is_no_json_is_named_with_its_field(number: str) -> None:
    data = encoded(small_tree()).replace(b'"prompt_median": ', f'"prompt_median": {number}, "x": '.encode(), 1)
    with pytest.raises(InvalidInputError, match=f"{number} is wrong: must be a number that is finite") as caught:
        parse_trace(data)
    assert caught.value.field == "trace.jobs[1].drawn.prompt_median"


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"nowhere\.json' can't be read: No such file"):
        load_trace(tmp_path / "nowhere.json")
