"""Every call as every kind of caller: without a key, with a bad one, with each role, for one's own and for others'."""

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from lorax_batch_scheduler.tenant import Role
from lorax_batch_server.access_rules import NEEDED_ROLES

from tests.integration.api.conftest import Refusal, refusal
from tests.integration.tenants.conftest import Metadata, Shared, bearer
from tests.integration.tenants.rpcs import RPCS, call, every_method

BAD_KEYS = {
    "no key": ((), "API_KEY_MISSING"),
    "an empty key": (bearer(""), "API_KEY_MISSING"),
    "another scheme": ((("authorization", "Basic YTpi"),), "API_KEY_MISSING"),
    "two keys": (bearer("lxb_a") + bearer("lxb_b"), "API_KEY_MISSING"),
    "a huge key": (bearer("x" * 5_000), "API_KEY_MISSING"),
    "a wrong key": (bearer("lxb_" + 43 * "A"), "API_KEY_UNKNOWN"),
    "its id as key": (bearer("key_" + 24 * "0"), "API_KEY_UNKNOWN"),
}
_Code = grpc.StatusCode
each_rpc = pytest.mark.parametrize("name", RPCS)


async def test_every_method_has_an_entry_here_and_in_the_service(keyed: Shared) -> None:
    listed = reflection_pb2.ServerReflectionRequest(list_services="")
    stub = reflection_pb2_grpc.ServerReflectionStub(keyed.api.channel)
    (answer,) = [each async for each in stub.ServerReflectionInfo(iter([listed]))]
    offered = {each.name for each in answer.list_services_response.service if each.name.startswith("lorax_batch.")}
    methods = every_method()
    assert offered == {method.containing_service.full_name for method in methods.values()}
    assert set(RPCS) == set(methods)
    assert {f"/lorax_batch.v1.{name}": rpc.role for name, rpc in RPCS.items()} == NEEDED_ROLES


async def test_every_call_needs_a_good_key(keyed: Shared) -> None:
    bad = BAD_KEYS | {
        "revoked": (keyed.keys["revoked"], "API_KEY_REVOKED"),
        "expired": (keyed.keys["expired"], "API_KEY_EXPIRED"),
    }
    for name, rpc in RPCS.items():
        request = rpc.make(keyed, "acme")
        for what, (metadata, reason) in bad.items():
            told = await refusal(call(keyed, name, request, metadata))
            assert (told.code, told.reason) == (_Code.UNAUTHENTICATED, reason), (name, what)
            assert told.details == ["ErrorInfo"]


async def test_every_call_needs_the_role_for_it(keyed: Shared) -> None:
    for name, rpc in RPCS.items():
        for role, key in ((Role.READ, "acme read"), (Role.SUBMIT, "acme submit")):
            if not role.allows(rpc.role):
                told = await refusal(call(keyed, name, rpc.make(keyed, "acme"), keyed.keys[key]))
                assert (told.code, told.reason) == (_Code.PERMISSION_DENIED, "ROLE_TOO_LOW"), name
                assert rpc.role.value in told.message


@each_rpc
async def test_whoever_may_is_answered(shared: Shared, name: str) -> None:
    rpc = RPCS[name]
    key = "operator" if rpc.role is Role.OPERATE else f"acme {rpc.role.lower()}"
    assert await _code(shared, name, "acme", shared.keys[key]) is rpc.code


@each_rpc
async def test_an_operator_does_the_same_for_every_tenant(shared: Shared, name: str) -> None:
    for tenant in ("acme", "globex"):
        if RPCS[name].names_things or tenant == "acme":
            assert await _code(shared, name, tenant, shared.keys["operator"]) is RPCS[name].code


@pytest.mark.parametrize(
    "name", [name for name, rpc in RPCS.items() if rpc.names_things and rpc.role is not Role.OPERATE]
)
async def test_what_is_another_tenants_is_as_if_it_were_not_there(shared: Shared, name: str) -> None:
    before = await _everything(shared)
    others, nobodys = [await _refusal(shared, name, owner) for owner in ("globex", "nobody")]
    assert others.code is _Code.NOT_FOUND
    assert _without_name(others, "globex") == _without_name(nobodys, "nobody")
    assert await _everything(shared) == before


async def test_health_and_reflection_need_no_key(keyed: Shared) -> None:
    health = health_pb2_grpc.HealthStub(keyed.api.channel)
    answer = await health.Check(health_pb2.HealthCheckRequest())
    assert answer.status == health_pb2.HealthCheckResponse.SERVING


async def _code(shared: Shared, name: str, owner: str, key: Metadata) -> grpc.StatusCode:
    try:
        await call(shared, name, RPCS[name].make(shared, owner), key)
    except grpc.aio.AioRpcError as error:
        return error.code()
    return _Code.OK


async def _refusal(shared: Shared, name: str, owner: str) -> Refusal:
    role = RPCS[name].role
    return await refusal(call(shared, name, RPCS[name].make(shared, owner), shared.keys[f"acme {role.lower()}"]))


def _without_name(told: Refusal, owner: str) -> tuple[object, ...]:
    return told.code, told.message.replace(owner, "?"), told.reason, told.metadata, told.fields, told.details


async def _everything(shared: Shared) -> list[object]:
    async with shared.stores.database.connection() as connection:
        return [
            await connection.fetch(f"SELECT * FROM {table} ORDER BY 1")
            for table in ("datasets", "upload_parts", "jobs", "job_chunks", "job_events", "tenants", "api_keys")
        ]
