"""Traces of what a service tells."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from lorax_batch_scheduler.catalogue import Catalogue
from lorax_batch_scheduler.errors import InvalidInputError
from lorax_batch_scheduler.replay import dump_trace, parse_trace, replay_trace
from lorax_batch_scheduler.replay.record import RecordedJob, RecordedSlot, trace_from
from lorax_batch_scheduler.replay.record_rows import SPREAD, RecordedRows, row_groups

BEGIN = datetime(2030, 1, 1, tzinfo=UTC)
ROWS = RecordedRows(
    row_count=1_000,
    adapters=(("a", 700), ("", 300)),
    succeeded=900,
    prompt_tokens=90_000,
    output_tokens=45_000,
    max_tokens=256,
)
JOB = RecordedJob(job_id="job_1", base_model_id="mistral-7b", create_time=BEGIN, rows=ROWS)
SLOTS = [RecordedSlot(slot_id="slot_1"), RecordedSlot(slot_id="slot_2", gpu_kind="h100-80", memory_bytes=80 << 30)]


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    return Catalogue.load()


def test_it_begins_with_the_first_job_and_can_be_replayed(catalogue: Catalogue) -> None:
    later = replace(
        JOB, job_id="job_2", create_time=BEGIN + timedelta(seconds=90), deadline=BEGIN + timedelta(hours=1), priority=3
    )
    trace = parse_trace(dump_trace(trace_from([later, JOB], SLOTS, catalogue, name="day").trace))
    assert [(job.id, job.arrival_s, job.deadline_s, job.priority) for job in trace.jobs] == [
        ("job_1", 0, None, 0),
        ("job_2", 90, 3_600, 3),
    ]
    assert replay_trace(trace).outcome.jobs[1].finish is not None


def test_slots_that_do_not_tell_their_gpu_get_what_was_said(catalogue: Catalogue) -> None:
    trace = trace_from([JOB], SLOTS, catalogue, gpu_kind="a10g-24", memory_bytes=24 << 30).trace
    assert [(slot.kind, slot.memory_bytes >> 30) for slot in trace.slots] == [("a10g-24", 24), ("h100-80", 80)]


def test_models_are_as_large_as_the_catalogue_and_the_quantization_say(catalogue: Catalogue) -> None:
    jobs = [JOB, replace(JOB, job_id="q", quantization="awq"), replace(JOB, job_id="u", base_model_id="of/nobody")]
    trace = trace_from(jobs, SLOTS, catalogue).trace
    weights = {model.name: round(model.weight_bytes / 1e9, 1) for model in trace.models}
    assert weights == {"mistral-7b": 14.5, "mistral-7b+awq": 4.3, "of/nobody": 14.5}


def test_jobs_share_a_family_only_when_their_servers_are_started_alike(catalogue: Catalogue) -> None:
    jobs = [
        JOB,
        replace(JOB, job_id="same"),
        replace(JOB, job_id="tag", lorax_image_tag="main"),
        replace(JOB, job_id="arguments", custom_args=("--max-batch-size", "8")),
    ]
    trace = trace_from(jobs, SLOTS, catalogue).trace
    assert len(trace.families) == 3
    assert len(trace.models) == 1


def test_a_deadline_before_the_job_is_left_out(catalogue: Catalogue) -> None:
    job = replace(JOB, deadline=BEGIN - timedelta(hours=1))
    assert trace_from([job], SLOTS, catalogue).trace.jobs[0].deadline_s is None


def test_jobs_that_fit_on_no_slot_of_now_are_left_out_and_told(catalogue: Catalogue) -> None:
    large = replace(JOB, job_id="old", base_model_id="llama-2-70b", create_time=BEGIN - timedelta(days=1))
    recording = trace_from([large, JOB], SLOTS, catalogue)
    assert [(job.id, job.arrival_s) for job in recording.trace.jobs] == [("job_1", 0)]
    assert [family.id for family in recording.trace.families] == ["mistral-7b"]
    (unfit,) = recording.unfit
    assert (unfit.family, unfit.job_count) == ("llama-2-70b", 1)
    assert "fits on no slot: the largest, 'slot_1', has 80.0 GiB" in unfit.why


def test_without_jobs_slots_or_room_there_is_no_trace(catalogue: Catalogue) -> None:
    empty = replace(JOB, rows=RecordedRows(row_count=0))
    for jobs, slots, said in (([empty], SLOTS, "none of those selected has rows"), ([JOB], [], "the service has none")):
        with pytest.raises(InvalidInputError, match=said):
            trace_from(jobs, slots, catalogue)
    with pytest.raises(InvalidInputError, match="fits on no slot"):
        trace_from([replace(JOB, base_model_id="llama-2-70b")], SLOTS, catalogue)


def test_rows_have_the_sums_that_were_counted() -> None:
    groups = row_groups(ROWS)
    assert sum(group.count for group in groups) == 1_000
    assert sum(group.count for group in groups if group.adapter == "a") == 700
    assert sum(group.count * group.output_tokens for group in groups) == pytest.approx(50_000, rel=0.02)
    assert {group.prompt_tokens for group in groups} == {100}
    assert {group.max_tokens for group in groups} == {256}


def test_the_spread_of_outputs_keeps_the_mean() -> None:
    assert sum(SPREAD) / len(SPREAD) == pytest.approx(1.0, abs=1e-3)


def test_a_job_that_runs_some_rows_of_a_dataset_has_them_in_proportion() -> None:
    groups = row_groups(replace(ROWS, row_count=7, adapters=(("a", 2), ("b", 1))))
    by_adapter = {name: sum(one.count for one in groups if one.adapter == name) for name in "ab"}
    assert by_adapter == {"a": 5, "b": 2}


def test_adapters_that_the_service_does_not_list_are_counted() -> None:
    groups = row_groups(RecordedRows(row_count=110, adapters=(("a", 100),), hidden_adapters=4, hidden_rows=10))
    assert {group.adapter for group in groups} == {"a", "hidden-1", "hidden-2", "hidden-3", "hidden-4"}
    assert sum(group.count for group in groups) == 110


def test_a_job_before_its_first_result_has_estimates() -> None:
    waiting = RecordedRows(row_count=10, estimated_prompt_tokens=33.4, max_tokens=64)
    assert {(one.adapter, one.prompt_tokens) for one in row_groups(waiting)} == {("", 33)}
    assert sum(one.count * one.output_tokens for one in row_groups(waiting)) <= 10 * 32
    assert row_groups(RecordedRows(row_count=1))[0].prompt_tokens == 256


def test_rows_that_make_no_tokens_count_one() -> None:
    embeddings = RecordedRows(row_count=10, succeeded=10, prompt_tokens=1_000)
    assert {one.output_tokens for one in row_groups(embeddings)} == {1}
