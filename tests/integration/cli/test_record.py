"""`lorax-batch jobs record` against a scripted service."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from lorax_batch.v1 import batch_inference_pb2, dataset_pb2, fleet_pb2, job_pb2
from lorax_batch_scheduler.replay import load_trace, parse_trace

from tests.integration.cli.conftest import Command
from tests.integration.client.scripted_service import Service

NOW = datetime.now(UTC)


def make_job(number: int, *, age: timedelta, dataset_id: str = "ds_1") -> job_pb2.Job:
    job = job_pb2.Job(
        job_id=f"job_{number}",
        dataset_id=dataset_id,
        base_model_id="mistral-7b-instruct-v0-2",
        counts=job_pb2.Counts(total=100, succeeded=90, failed=8, invalid=2),
        usage=job_pb2.Usage(prompt_tokens=9_000, completion_tokens=1_800, total_tokens=10_800),
    )
    job.server_config.base_model = "mistral-7b-instruct-v0-2"
    job.create_time.FromDatetime(NOW - age)
    return job


@pytest.fixture
def history(service: Service) -> Service:
    """A service with three jobs of two datasets, one of which is deleted."""
    jobs = [make_job(number, age=timedelta(hours=number)) for number in (1, 2)]
    jobs.append(make_job(3, age=timedelta(hours=3), dataset_id="ds_deleted"))
    models = [("summaries", 60), ("mistralai/Mistral-7B-Instruct-v0.2", 28), ("", 10)]
    dataset = dataset_pb2.Dataset(dataset_id="ds_1", row_count=100, invalid_row_count=2, model_count=3)
    dataset.models.extend(dataset_pb2.ModelCount(model=model, row_count=count) for model, count in models)
    service.script.serve("ListJobs", lambda _: batch_inference_pb2.ListJobsResponse(jobs=jobs))
    service.datasets.shown["ds_1"] = dataset
    slot = fleet_pb2.Slot(slot_id="slot_1", kind="static", url="http://gpu:80")
    service.script.expect("ListSlots", fleet_pb2.ListSlotsResponse(slots=[slot]))
    return service


async def test_rows_are_recorded_by_adapter_and_the_models_own_names_are_none(
    command: Command, history: Service, tmp_path: Path
):
    ended = await command("jobs", "record", "-o", tmp_path / "trace.json")
    assert (ended.exit_code, ended.stderr) == (0, "3 jobs on 1 slot\n")
    trace = load_trace(tmp_path / "trace.json")
    assert [job.id for job in trace.jobs] == ["job_3", "job_2", "job_1"]
    counts = {
        name: sum(group.count for group in trace.jobs[1].rows if group.adapter == name) for name in ("", "summaries")
    }
    assert counts == {"": 38, "summaries": 60}
    assert sum(group.count for group in trace.jobs[0].rows) == 98


async def test_the_times_that_are_given_bound_what_is_recorded(command: Command, history: Service):
    ended = await command("jobs", "record", "--since", "2h30m", "--until", "90m", "--name", "yesterday")
    trace = parse_trace(ended.stdout.encode())
    assert (trace.name, [job.id for job in trace.jobs]) == ("yesterday", ["job_2"])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--since", "30m"), "none of those selected has rows"),
        (("--since", "soon"), "--since: 'soon' is neither a time ago (24h"),
        (("--since", "1h", "--until", "2h"), "is not before --until"),
        (("--gpu-memory", "4"), "fits on no slot: the largest, 'slot_1', has 4.0 GiB; --gpu-kind and --gpu-memory"),
        (("--gpu-kind", "a100"), "'a100' is no GPU kind"),
        (("--state", "gone"), "--state: 'gone' is none of"),
    ],
)
async def test_what_makes_no_trace_ends_with_two_and_writes_nothing(
    command: Command, history: Service, tmp_path: Path, options: tuple[str, ...], said: str
):
    ended = await command("jobs", "record", "-o", tmp_path / "trace.json", *options)
    assert ended.exit_code == 2
    assert said in ended.stderr
    assert list(tmp_path.iterdir()) == []


async def test_jobs_that_fit_on_no_slot_that_is_there_now_are_left_out_and_named(command: Command, service: Service):
    jobs = [make_job(number, age=timedelta(hours=number), dataset_id="ds_deleted") for number in (1, 2)]
    jobs[1].base_model_id = "llama-2-70b"
    service.script.serve("ListJobs", lambda _: batch_inference_pb2.ListJobsResponse(jobs=jobs))
    slot = fleet_pb2.Slot(slot_id="slot_1", gpu_kind="a100-40", memory_bytes=40 << 30)
    service.script.expect("ListSlots", fleet_pb2.ListSlotsResponse(slots=[slot]))
    ended = await command("jobs", "record")
    assert ended.exit_code == 0
    assert [job.id for job in parse_trace(ended.stdout.encode()).jobs] == ["job_1"]
    said, left_out = ended.stderr.splitlines()
    assert said == "1 job on 1 slot"
    assert left_out.startswith("left out: 1 job of llama-2-70b; 'llama-2-70b' needs")
    assert left_out.endswith("the largest, 'slot_1', has 40.0 GiB")


@pytest.mark.parametrize(
    ("place", "said"),
    [("nowhere/t.json", "there is no folder"), (".", "is a folder: name a file in it")],
)
async def test_a_place_where_nothing_can_be_written_is_told_before_the_service_is_asked(
    command: Command, tmp_path: Path, place: str, said: str
):
    ended = await command("jobs", "record", "-o", tmp_path / place)
    assert (ended.exit_code, ended.stdout) == (2, "")
    assert ended.stderr.startswith("lorax-batch: --output: '")
    assert said in ended.stderr


async def test_a_trace_that_is_there_is_replaced_as_a_whole(command: Command, history: Service, tmp_path: Path):
    (tmp_path / "trace.json").write_text("older" * 10_000, encoding="utf-8")
    assert (await command("jobs", "record", "-o", tmp_path / "trace.json")).exit_code == 0
    assert len(load_trace(tmp_path / "trace.json").jobs) == 3
    assert [path.name for path in tmp_path.iterdir()] == ["trace.json"]


@pytest.mark.parametrize("memory", ["inf", "nan", "0", "-1", "1e300"])
async def test_a_memory_that_no_gpu_has_is_refused(command: Command, memory: str):
    ended = await command("jobs", "record", "--gpu-memory", memory)
    assert ended.exit_code == 2
    assert "--gpu-memory" in ended.stderr
