"""Rows that harm others, and answers that are none: each costs itself, and nobody else anything but time."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from lorax_batch_client import JobState
from lorax_simulator.rubbish import RUBBISH

from tests.end_to_end.job_story import submit
from tests.end_to_end.rows import Row, key_of, make_row, make_rows
from tests.faults.lorax_stage import IN_FLIGHT, LIMITS, Stage
from tests.processes import Simulator

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(scope="module")
def whole_stage(postgres_directory: Path) -> Iterator[Stage]:
    with (
        Simulator(*LIMITS, "--time-scale", "0.05") as simulator,
        Stage(postgres_directory / "lorax-bad-rows", simulator, settings="stall_after_s = 1.0") as stage,
    ):
        yield stage


@pytest.fixture
def stage(whole_stage: Stage) -> Iterator[Stage]:
    with whole_stage.scene():
        yield whole_stage


def with_words(tag: str, rows: list[Row], words: dict[int, str], **fields: Any) -> list[Row]:
    for number, said in words.items():
        rows[number] = make_row(tag, number, words=said, **fields)
    return rows


def test_one_poison_row_among_many_in_flight_fails_alone(stage: Stage, tmp_path: Path) -> None:
    """A row that fails every batch it is in is found in a few rounds, and is the only one that fails."""
    before = stage.fired("poison")
    stage.misbehave("poison")
    rows = with_words("poison", make_rows("poison", 600), {300: "fault:poison"})
    _, files = stage.run("poison", rows, tmp_path, repeats=4 * IN_FLIGHT)
    assert files.errors.keys() == {301}
    assert files.codes == {"generation_error": 1}
    assert stage.fired("poison") - before == stage.calls("poison")[key_of("poison", 300)] <= 7


def test_several_poison_rows_fail_and_nothing_else_does(stage: Stage, tmp_path: Path) -> None:
    """Poison rows that are in flight together, and one after the other, are all told apart from their neighbours."""
    before = stage.fired("poison")
    stage.misbehave("poison")
    bad = (3, 4, 30, 300, 301, 599)
    rows = with_words("many", make_rows("many", 600), dict.fromkeys(bad, "fault:poison"))
    _, files = stage.run("many", rows, tmp_path, repeats=len(bad) * 4 * IN_FLIGHT)
    assert files.errors.keys() == {number + 1 for number in bad}
    assert stage.fired("poison") - before >= 3 * len(bad)


def test_a_poison_row_does_not_harm_the_rows_of_another_job(stage: Stage, tmp_path: Path) -> None:
    """Rows of one job that are in flight beside a poison row of another all succeed."""
    before = stage.fired("poison")
    stage.misbehave("poison", "wedge")
    mine = with_words("mine", make_rows("mine", 200), {195: "fault:poison"})
    other = make_rows("other", 1_500, max_tokens=80)
    stories = submit(stage.client, mine), submit(stage.client, other)
    for story in stories:
        story.until(lambda job: job.state is JobState.RUNNING)
    stage.behave("wedge")
    _, harmed = stage.finish(stories[1], "other", other, tmp_path, repeats=4 * IN_FLIGHT)
    _, files = stage.finish(stories[0], "mine", mine, tmp_path, repeats=4 * IN_FLIGHT)
    assert not harmed.errors
    assert files.errors.keys() == {196}
    assert stage.fired("poison") - before >= 3
    assert stage.calls("other").total() > 1_500, "none of its rows was in flight beside the poison"


def test_a_poison_row_that_aborts_the_router_fails_alone(stage: Stage, tmp_path: Path) -> None:
    """When the failed prefill of a row brings the whole server down, the row is alone after two restarts."""
    before, restarts = stage.fired("prefill-abort"), stage.stats("restarts")
    stage.misbehave("poison", "prefill-abort")
    rows = with_words("abort", make_rows("abort", 400, adapters=("", "org/a")), {200: "fault:poison"})
    _, files = stage.run("abort", rows, tmp_path, repeats=5 * IN_FLIGHT)
    assert files.errors.keys() == {201}
    assert 1 <= stage.fired("prefill-abort") - before == stage.stats("restarts") - restarts <= 4


def test_an_adapter_whose_rows_all_fail_their_batch_takes_few_others_with_it(stage: Stage, tmp_path: Path) -> None:
    """An adapter of the wrong shape, which LoRAX notices only in the middle of a batch, is given up after two rows."""
    before = stage.fired("adapter-poison")
    stage.misbehave("adapter-poison=org/bad")
    rows = make_rows("shape", 400, adapters=("", "org/bad", "org/good"))
    _, files = stage.run("shape", rows, tmp_path, repeats=4 * IN_FLIGHT)
    assert files.errors.keys() == {number + 1 for number in range(1, 400, 3)}
    assert 3 <= stage.fired("adapter-poison") - before <= 8
    calls = stage.calls("shape")
    assert sum(calls[key_of("shape", number)] for number in range(1, 400, 3)) <= 8


def test_a_row_that_exhausts_the_memory_by_itself_does_not_slow_the_others_down(stage: Stage, tmp_path: Path) -> None:
    """Of rows that run out of memory together, only the one that does so alone fails."""
    before = stage.fired("oom")
    stage.misbehave("oom=20")
    _, files = stage.run("memory", make_rows("memory", 400), tmp_path, repeats=6 * IN_FLIGHT)
    assert not files.errors
    assert 1 <= stage.fired("oom") - before <= 6


GOOD = {"wrong-type", "interim", "slow-drip", "two-answers"}
"""The row's own answer is in it, and told apart from the rest."""
UNDETECTABLE = {"other-row"}
"""LoRAX answers name neither the row nor its prompt."""
CODES = {
    "half-body": "connection_cut",
    "huge-body": "answer_too_large",
    "html-502": "bad_gateway",
    "redirect": "unexpected_status",
    "error-in-200": "generation_error",
}
SILENT = {"short-body"}
"""The row waits for the rest until its time is over: see the test of the runner."""


def test_rubbish_in_place_of_an_answer_costs_the_row_and_no_other(stage: Stage, tmp_path: Path) -> None:
    """No kind of broken answer crashes, hangs, or reaches another row, and each that can be told is an error."""
    kinds = sorted(RUBBISH.keys() - SILENT)
    before = {kind: stage.fired(kind) for kind in kinds}
    stage.misbehave(*kinds)
    tag = "rubbish"
    bad = {10 + 15 * place: kind for place, kind in enumerate(kinds)}
    rows = with_words(tag, make_rows(tag, 400), {number: f"fault:{kind}" for number, kind in bad.items()})
    _, files = stage.run(tag, rows, tmp_path, repeats=12 * IN_FLIGHT)
    for number, kind in bad.items():
        assert stage.fired(kind) > before[kind], kind
        if kind in GOOD | UNDETECTABLE:
            assert number + 1 in files.output, kind
        else:
            assert files.errors[number + 1]["error"]["code"] == CODES.get(kind, "invalid_response"), kind
    assert len(files.errors) == len(kinds) - len(GOOD | UNDETECTABLE)
    for line, result in files.output.items():
        if bad.get(line - 1) not in UNDETECTABLE:
            said = result["response"]["body"]["choices"][0]["message"]["content"]
            assert rows[line - 1]["body"]["messages"][0]["content"].strip() in said
