from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc
import pytest
from lorax_batch.v1 import batch_inference_pb2 as pb
from lorax_batch.v1 import job_pb2

from tests.integration.cli.conftest import Command
from tests.integration.client.messages import change, heartbeat, job, part, progress, rows, snapshot, summary
from tests.integration.client.scripted_service import Abort, Service

RUNNING, SUCCEEDED, FAILED = job_pb2.JOB_STATE_RUNNING, job_pb2.JOB_STATE_SUCCEEDED, job_pb2.JOB_STATE_FAILED
OUTPUT, ERROR = b'{"custom_id":"a"}', b'{"custom_id":"b"}'


def ends_as(state: int) -> list[pb.WatchJobsResponse]:
    return [snapshot(1), heartbeat(1), change(2, RUNNING), progress(2), change(3, state)]


async def test_a_job_is_created_with_all_its_options(command: Command, service: Service, tmp_path: Path):
    token = tmp_path / "token"
    token.write_text("secret\n")
    service.script.expect("CreateJob", pb.CreateJobResponse(job=job()))
    options = ["--dataset", "rows", "--base-model", "mistral", "--quantization", "awq", "--lorax-image-tag", "main"]
    options += ["--hf-token-file", str(token), "--custom-arg=--x", "--custom-arg=1", "--priority", "5"]
    options += ["--deadline", "24h", "--label", "a=b", "--label", "c=d=e"]
    ended = await command("jobs", "create", *options)
    assert (ended.exit_code, ended.stdout) == (0, "job_1\n")
    request = service.script.requests[0]
    config = request.server_config
    assert (config.base_model, config.quantization, config.lorax_image_tag) == ("mistral", "awq", "main")
    assert (config.hf_token, list(config.custom_args)) == ("secret", ["--x", "1"])
    assert (request.priority, dict(request.labels)) == (5, {"a": "b", "c": "d=e"})
    left = request.deadline.ToDatetime(tzinfo=UTC) - datetime.now(UTC)
    assert timedelta(hours=23, minutes=55) < left <= timedelta(hours=24)


async def test_whether_its_deadline_can_be_met_is_told_beside_the_id(command: Command, service: Service):
    late = job()
    late.admission, late.admission_reason = job_pb2.JOB_ADMISSION_INFEASIBLE, "needs about 8 min"
    service.script.expect("CreateJob", pb.CreateJobResponse(job=late))
    ended = await command("jobs", "create", "--dataset", "rows", "--base-model", "m", "--deadline", "1m")
    assert (ended.stdout, ended.stderr) == ("job_1\n", "admission infeasible: needs about 8 min\n")


@pytest.mark.parametrize(("state", "exit_code"), [(SUCCEEDED, 0), (FAILED, 1), (job_pb2.JOB_STATE_CANCELLED, 1)])
async def test_waiting_ends_as_the_job_does(command: Command, service: Service, state: int, exit_code: int):
    service.script.expect("CreateJob", pb.CreateJobResponse(job=job()))
    service.script.expect("WatchJobs", ends_as(state))
    ended = await command("jobs", "create", "--dataset", "rows", "--base-model", "m", "--wait")
    assert ended.exit_code == exit_code
    assert "job_1" in ended.stdout


async def test_a_watch_prints_one_object_an_event(command: Command, service: Service):
    service.script.expect("WatchJobs", ends_as(SUCCEEDED))
    ended = await command("jobs", "watch", "job_1", "--json")
    assert [one["event"] for one in ended.objects] == [
        *("job_snapshot", "job_state_changed", "job_progressed", "job_state_changed"),
    ]
    assert ended.objects[-1]["job"]["state"] == "succeeded"


async def test_a_watch_without_a_terminal_prints_a_line_a_state(command: Command, service: Service):
    service.script.expect("WatchJobs", ends_as(SUCCEEDED))
    ended = await command("jobs", "watch", "job_1")
    assert [line.split()[1] for line in ended.stderr.splitlines()] == ["queued", "running", "succeeded"]


async def test_jobs_are_listed(command: Command, service: Service):
    service.script.expect("ListJobs", pb.ListJobsResponse(jobs=[job(job_id="job_2"), job()]))
    ended = await command("jobs", "list", "--state", "running", "--label", "team=a")
    assert [line.split()[:2] for line in ended.stdout.splitlines()[1:]] == [["job_2", "running"], ["job_1", "running"]]
    assert list(service.script.requests[0].filter.states) == [RUNNING]


async def test_a_job_never_shows_a_token(command: Command, service: Service):
    service.script.expect("GetJob", pb.GetJobResponse(job=job(server_config=job_pb2.ServerConfig(base_model="m"))))
    ended = await command("jobs", "get", "job_1", "--json")
    assert "hf_token" not in ended.objects[0]["server_config"]
    assert ended.objects[0]["cost"] == {"amount": "0.000000", "currency": "USD"}


@pytest.mark.parametrize(("name", "method"), [("cancel", "Cancel"), ("pause", "Pause"), ("resume", "Resume")])
async def test_a_job_is_controlled(command: Command, service: Service, name: str, method: str):
    service.script.expect(f"{method}Job", getattr(pb, f"{method}JobResponse")(job=job()))
    assert (await command("jobs", name, "job_1")).stdout == "job_1 running\n"


async def test_a_retry_names_the_new_job(command: Command, service: Service):
    service.script.expect("RetryJob", pb.RetryJobResponse(job=job(job_id="job_2")))
    assert (await command("jobs", "retry", "job_1")).stdout == "job_2\n"


async def test_a_deadline_is_taken_away(command: Command, service: Service):
    service.script.expect("UpdateJob", pb.UpdateJobResponse(job=job()))
    assert (await command("jobs", "update", "job_1", "--deadline", "none")).exit_code == 0
    assert list(service.script.requests[0].update_mask.paths) == ["deadline"]


async def test_an_ended_job_is_downloaded(command: Command, service: Service, tmp_path: Path):
    output, errors = OUTPUT + b"\n", ERROR + b"\n"
    counts = job_pb2.Counts(total=2, succeeded=1, failed=1)
    service.script.expect("GetJob", pb.GetJobResponse(job=job(SUCCEEDED, counts=counts)))
    service.script.expect(
        "DownloadResults",
        [part(errors, 0, len(errors), first=True)],
        [part(output, 0, len(output), first=True)],
    )
    ended = await command("jobs", "results", "job_1", "-o", tmp_path / "out", "--errors", tmp_path / "err", "--json")
    assert ended.exit_code == 0
    assert ((tmp_path / "out").read_bytes(), (tmp_path / "err").read_bytes()) == (output, errors)
    assert (ended.objects[0]["output_rows"], ended.objects[0]["error_rows"]) == (1, 1)


async def test_a_running_job_is_followed_into_files(command: Command, service: Service, tmp_path: Path):
    service.script.expect("GetJob", pb.GetJobResponse(job=job()), pb.GetJobResponse(job=job(FAILED)))
    service.script.expect(
        "StreamResults", [rows(0, OUTPUT), rows(1, ERROR, kind=pb.RESULT_KIND_ERROR), summary(OUTPUT, ERROR)]
    )
    ended = await command("jobs", "results", "job_1", "-o", tmp_path / "out", "--follow")
    assert ended.exit_code == 1
    assert (tmp_path / "out").read_bytes() == OUTPUT + b"\n"
    assert "1 row without success (--errors FILE writes them)" in ended.stderr


async def test_results_go_to_standard_output(command: Command, service: Service):
    service.script.expect("GetJob", pb.GetJobResponse(job=job(SUCCEEDED)), pb.GetJobResponse(job=job(SUCCEEDED)))
    service.script.expect("StreamResults", [rows(0, OUTPUT), summary(OUTPUT)])
    ended = await command("jobs", "results", "job_1", "-o", "-", "--order", "input")
    assert ended.stdout.encode() == OUTPUT + b"\n"
    assert service.script.requests[1].order == pb.RESULT_ORDER_INPUT


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["create", "--dataset", "d", "--base-model", "m", "--label", "x"], "'x' is not of the form key=value"),
        (["create", "--dataset", "d", "--base-model", "m", "--deadline", "soon"], "'soon' is neither"),
        (["create", "--dataset", "d", "--base-model", "m", "--hf-token-file", "/nope"], "--hf-token-file: /nope can't"),
        (["list", "--state", "done"], "'done' is none of validating, queued"),
        (["update", "job_1"], "nothing to change"),
        (["results", "job_1", "-o", "/nope/out"], "no such directory"),
        (["results", "job_1", "-o", "same", "--errors", "same"], "is the output file too"),
        (["create", "--dataset", "d"], "--base-model"),
    ],
)
async def test_bad_usage_ends_with_2(command: Command, arguments: list[str], said: str):
    ended = await command("jobs", *arguments)
    assert ended.exit_code == 2
    assert said in ended.stderr


async def test_what_the_service_refuses_ends_with_2(command: Command, service: Service):
    service.script.expect("PauseJob", Abort(code=grpc.StatusCode.FAILED_PRECONDITION, text="job 'job_1' has ended"))
    ended = await command("jobs", "pause", "job_1")
    assert (ended.exit_code, ended.stderr) == (2, "lorax-batch: job 'job_1' has ended\n")


async def test_a_service_that_is_not_there_ends_with_3(command: Command, service: Service):
    await service.server.stop(None)
    ended = await command("jobs", "get", "job_1")
    assert ended.exit_code == 3
    assert f"can't reach the lorax-batch service at {service.target}" in ended.stderr
