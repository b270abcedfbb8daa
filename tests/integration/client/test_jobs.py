from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal

import grpc
import pytest
from google.rpc import error_details_pb2
from lorax_batch.v1 import batch_inference_pb2 as pb
from lorax_batch.v1 import fleet_pb2, job_pb2
from lorax_batch_client import JobState, ServerConfig, ServerState
from lorax_batch_client.errors import FailedPreconditionError, InvalidRequestError, NotOfferedError, ServiceError

from tests.integration.client.conftest import Caller
from tests.integration.client.messages import job
from tests.integration.client.scripted_service import UNAVAILABLE, Abort, Service, reason

WESTERN = timezone(timedelta(hours=-8))


async def test_a_job_is_created_from_plain_keywords(caller: Caller, service: Service):
    service.script.expect("CreateJob", pb.CreateJobResponse(job=job()))
    deadline = datetime(2030, 1, 1, tzinfo=UTC)
    await caller.ask(
        "create_job", "rows", base_model="mistral", custom_args=["--x"], deadline=deadline, labels={"a": "b"}
    )
    request = service.script.requests[0]
    assert (request.dataset, request.server_config.base_model) == ("rows", "mistral")
    assert request.server_config.custom_args == ["--x"]
    assert request.deadline.ToDatetime(tzinfo=UTC) == deadline
    assert request.labels == {"a": "b"}
    assert request.request_id


async def test_a_create_that_meets_a_restart_is_sent_again_with_the_same_id(caller: Caller, service: Service):
    service.script.expect("CreateJob", UNAVAILABLE, pb.CreateJobResponse(job=job()))
    created = await caller.ask("create_job", "rows", ServerConfig(base_model="m"))
    assert created.job_id == "job_1"
    assert len({request.request_id for request in service.script.requests}) == 1


async def test_config_and_keywords_together_are_refused(caller: Caller):
    with pytest.raises(TypeError, match="not both"):
        await caller.ask("create_job", "rows", ServerConfig(base_model="m"), backend="fa2")


async def test_a_naive_deadline_is_refused(caller: Caller):
    with pytest.raises(ValueError, match="no time zone"):
        await caller.ask("create_job", "rows", base_model="m", deadline=datetime(2030, 1, 1))  # noqa: DTZ001


@pytest.mark.parametrize("deadline", [timedelta.max, timedelta.min, datetime.max.replace(tzinfo=WESTERN)])
async def test_a_deadline_that_no_calendar_has_is_refused(caller: Caller, deadline: datetime | timedelta):
    with pytest.raises(ValueError, match="is beyond the years 1 to 9999"):
        await caller.ask("create_job", "rows", base_model="m", deadline=deadline)


@pytest.mark.parametrize("deadline", ["tomorrow", 86_400, float("nan")])
async def test_a_deadline_that_is_no_time_is_refused_by_name(caller: Caller, deadline: object):
    with pytest.raises(TypeError, match=f"{deadline!r} is no point in time"):
        await caller.ask("create_job", "rows", base_model="m", deadline=deadline)


async def test_all_of_a_job_is_read(caller: Caller, service: Service):
    message = job(
        counts=job_pb2.Counts(total=10, pending=3, in_flight=1, retrying=1, succeeded=4, failed=1),
        cost=job_pb2.Cost(currency="USD", micros=1_234_567),
        errors=[job_pb2.RowError(line=3, custom_id="c", code="bad", message="no")],
    )
    message.create_time.FromDatetime(datetime(2026, 1, 2, tzinfo=UTC))
    message.progress.remaining.FromTimedelta(timedelta(seconds=90))
    service.script.expect("GetJob", pb.GetJobResponse(job=message))
    found = await caller.ask("get_job", "job_1")
    assert found.counts.ended == 5
    assert found.cost.amount == Decimal("1.234567")
    assert found.create_time == datetime(2026, 1, 2, tzinfo=UTC)
    assert found.end_time is None
    assert found.progress.remaining == timedelta(seconds=90)
    assert found.progress.eta is None
    assert found.errors[0].line == 3


async def test_a_state_of_a_newer_service_is_unknown(caller: Caller, service: Service):
    service.script.expect("GetJob", pb.GetJobResponse(job=job(77)))
    assert (await caller.ask("get_job", "job_1")).state is JobState.UNKNOWN


async def test_pages_are_asked_for_one_after_the_other(caller: Caller, service: Service):
    service.script.expect(
        "ListJobs",
        pb.ListJobsResponse(jobs=[job(job_id="job_2")], next_page_token="next"),
        pb.ListJobsResponse(jobs=[job(job_id="job_1")]),
    )
    assert [one.job_id for one in await caller.collect("list_jobs")] == ["job_2", "job_1"]


async def test_an_update_names_only_what_changes(caller: Caller, service: Service):
    service.script.expect("UpdateJob", pb.UpdateJobResponse(job=job()), pb.UpdateJobResponse(job=job()))
    await caller.ask("update_job", "job_1", priority=5, labels={"a": "b"})
    await caller.ask("update_job", "job_1", clear_deadline=True)
    masks = [list(request.update_mask.paths) for request in service.script.requests]
    assert masks == [["priority", "labels"], ["deadline"]]


@pytest.mark.parametrize(
    ("name", "method"),
    [("cancel_job", "Cancel"), ("pause_job", "Pause"), ("resume_job", "Resume"), ("retry_job", "Retry")],
)
async def test_a_job_is_controlled(caller: Caller, service: Service, name: str, method: str):
    service.script.expect(f"{method}Job", getattr(pb, f"{method}JobResponse")(job=job()))
    assert (await caller.ask(name, "job_1")).job_id == "job_1"
    assert service.script.requests[0].job_id == "job_1"


async def test_a_job_is_deleted(caller: Caller, service: Service):
    service.script.expect("DeleteJob", pb.DeleteJobResponse())
    await caller.ask("delete_job", "job_1")
    assert service.script.requests[0].job_id == "job_1"


async def test_slots_and_servers_are_listed(caller: Caller, service: Service):
    service.script.expect("ListSlots", fleet_pb2.ListSlotsResponse(slots=[fleet_pb2.Slot(slot_id="s")]))
    ready = fleet_pb2.Server(server_id="v", state=fleet_pb2.SERVER_STATE_READY)
    service.script.expect("ListServers", fleet_pb2.ListServersResponse(servers=[ready]))
    assert [slot.slot_id for slot in await caller.collect("list_slots")] == ["s"]
    assert [server.state for server in await caller.collect("list_servers")] == [ServerState.READY]


async def test_every_field_at_fault_is_in_the_error(caller: Caller, service: Service):
    violation = error_details_pb2.BadRequest.FieldViolation
    bad = error_details_pb2.BadRequest(
        field_violations=[
            violation(field="server_config.base_model", description="has 70 billion parameters"),
            violation(field="priority", description="is 1000, at most 100"),
        ]
    )
    text = "server_config.base_model: has 70 billion parameters"
    details = (bad, reason("MODEL_TOO_LARGE", limit="16"))
    service.script.expect("CreateJob", Abort(code=grpc.StatusCode.INVALID_ARGUMENT, text=text, details=details))
    with pytest.raises(InvalidRequestError) as caught:
        await caller.ask("create_job", "rows", base_model="big")
    assert str(caught.value) == f"{text}; priority: is 1000, at most 100"
    assert [one.field for one in caught.value.violations] == ["server_config.base_model", "priority"]
    assert caught.value.reason == "MODEL_TOO_LARGE"
    assert caught.value.facts.metadata == {"limit": "16"}


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (grpc.StatusCode.FAILED_PRECONDITION, FailedPreconditionError),
        (grpc.StatusCode.UNIMPLEMENTED, NotOfferedError),
        (grpc.StatusCode.UNAUTHENTICATED, Exception),
    ],
)
async def test_each_code_has_its_error(caller: Caller, service: Service, code: grpc.StatusCode, kind: type[Exception]):
    service.script.expect("PauseJob", Abort(code=code))
    with pytest.raises(kind, match="scripted"):
        await caller.ask("pause_job", "job_1")


async def test_a_fault_of_the_service_is_told_as_such(caller: Caller, service: Service):
    service.script.expect("GetJob", Abort(code=grpc.StatusCode.INTERNAL, text="oops", details=(reason("INTERNAL"),)))
    with pytest.raises(ServiceError, match="oops"):
        await caller.ask("get_job", "job_1")
