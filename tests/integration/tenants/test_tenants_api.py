"""Tenants and keys are made, listed, changed; what can't be is refused with its field and the way out."""

from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.timestamp_pb2 import Timestamp
from lorax_batch.v1 import tenants_pb2 as pb

from tests.integration.api.conftest import Refusal, refusal
from tests.integration.tenants.conftest import Shared


def time(moment: datetime) -> Timestamp:
    stamp = Timestamp()
    stamp.FromDatetime(moment)
    return stamp


async def create_tenant(shared: Shared, name: str, **fields: Any) -> pb.Tenant:
    request = pb.CreateTenantRequest(tenant=pb.Tenant(tenant=name, **fields))
    return (await shared.api.tenants.CreateTenant(request, metadata=shared.keys["operator"])).tenant


async def update_tenant(shared: Shared, paths: list[str], **fields: Any) -> pb.Tenant:
    request = pb.UpdateTenantRequest(tenant=pb.Tenant(**fields), update_mask=FieldMask(paths=paths))
    return (await shared.api.tenants.UpdateTenant(request, metadata=shared.keys["operator"])).tenant


async def create_key(shared: Shared, **fields: Any) -> pb.Key:
    request = pb.CreateKeyRequest(key=pb.Key(**fields))
    return (await shared.api.tenants.CreateKey(request, metadata=shared.keys["operator"])).key


async def refused(call: Any) -> Refusal:
    told = await refusal(call)
    assert told.code is grpc.StatusCode.INVALID_ARGUMENT
    return told


async def test_a_tenant_is_what_was_asked_for(keyed: Shared) -> None:
    quotas = pb.Quotas(queued_jobs=3, dataset_rows=1_000_000, requests_per_second=0.5)
    made = await create_tenant(keyed, "initech", quotas=quotas, share_weight=2.5)
    assert (made.tenant, made.quotas, made.share_weight) == ("initech", quotas, 2.5)
    assert (await create_tenant(keyed, "a")).share_weight == 1
    request = pb.ListTenantsRequest(page_size=2)
    page = await keyed.api.tenants.ListTenants(request, metadata=keyed.keys["operator"])
    assert [tenant.tenant for tenant in page.tenants] == ["a", "initech"]
    request.page_token = page.next_page_token
    page = await keyed.api.tenants.ListTenants(request, metadata=keyed.keys["operator"])
    assert [tenant.tenant for tenant in page.tenants] == ["globex", "acme"]


async def test_only_what_is_named_changes(keyed: Shared) -> None:
    await update_tenant(keyed, ["quotas"], tenant="acme", quotas=pb.Quotas(queued_jobs=3, stored_bytes=9))
    changed = await update_tenant(
        keyed, ["quotas.queued_tokens", "quotas.stored_bytes"], tenant="acme", quotas=pb.Quotas(queued_tokens=7)
    )
    assert changed.quotas == pb.Quotas(queued_jobs=3, queued_tokens=7)
    assert (await update_tenant(keyed, ["share_weight"], tenant="acme", share_weight=4)).quotas == changed.quotas
    assert (await update_tenant(keyed, ["quotas"], tenant="acme")).quotas == pb.Quotas()


@pytest.mark.parametrize("name", ["", "Acme", "a b", "-a", "a-", "a" * 64, "ä", "a\n", "a/b", "a\x1fb"])
async def test_a_name_is_lower_case_letters_digits_and_dashes(keyed: Shared, name: str) -> None:
    told = await refused(create_tenant(keyed, name))
    assert "is no name for a tenant: 1 to 63 lower-case letters" in told.fields["tenant.tenant"]


async def test_a_name_is_taken_once(keyed: Shared) -> None:
    told = await refusal(create_tenant(keyed, "acme"))
    assert (told.code, told.reason) == (grpc.StatusCode.ALREADY_EXISTS, "ALREADY_EXISTS")
    assert told.message == "there is a tenant 'acme' already: update it, or choose another name"


@pytest.mark.parametrize(
    "quota", ["queued_jobs", "queued_tokens", "dataset_rows", "stored_bytes", "requests_per_second"]
)
async def test_a_quota_of_nothing_is_refused(keyed: Shared, quota: str) -> None:
    calls = [
        create_tenant(keyed, "initech", quotas=pb.Quotas(**{quota: 0})),
        update_tenant(keyed, [f"quotas.{quota}"], tenant="acme", quotas=pb.Quotas(**{quota: 0})),
    ]
    for call in calls:
        assert (await refused(call)).fields == {
            f"tenant.quotas.{quota}": "0 would allow nothing: leave it unset for no limit; to shut a tenant out, "
            "disable it"
        }
    told = await refused(create_tenant(keyed, "initech", quotas=pb.Quotas(**{quota: -1})))
    assert "is not between" in told.fields[f"tenant.quotas.{quota}"]


async def test_a_weight_is_a_share(keyed: Shared) -> None:
    for weight in (-1.0, 1e-9, float("nan"), float("inf"), 1e9):
        told = await refused(create_tenant(keyed, "initech", share_weight=weight))
        assert "is not between 0.001 and 1,000" in told.fields["tenant.share_weight"]
    told = await refused(update_tenant(keyed, ["share_weight"], tenant="acme"))
    assert told.fields == {"tenant.share_weight": "0.0 is not between 0.001 and 1,000.0"}


async def test_an_update_names_what_it_changes(keyed: Shared) -> None:
    assert "name what to change" in (await refused(update_tenant(keyed, [], tenant="acme"))).fields["update_mask"]
    told = await refused(update_tenant(keyed, ["tenant"], tenant="acme"))
    assert "'tenant' can't be changed; only share_weight, disabled, quotas" in told.fields["update_mask"]
    assert (await refusal(update_tenant(keyed, ["quotas"], tenant="none"))).code is grpc.StatusCode.NOT_FOUND
    assert "tenant.tenant" in (await refused(update_tenant(keyed, ["quotas"]))).fields


async def test_a_new_tenant_is_not_disabled(keyed: Shared) -> None:
    told = await refused(create_tenant(keyed, "initech", disabled=True))
    assert "a new tenant has no keys" in told.fields["tenant.disabled"]


async def test_a_key_is_what_was_asked_for(keyed: Shared) -> None:
    expires = time(datetime.now(UTC) + timedelta(days=30))
    made = await create_key(keyed, tenant="acme", role=pb.ROLE_READ, name="dashboard", expire_time=expires)
    assert made.key_id.startswith("key_")
    assert (made.tenant, made.role, made.name) == ("acme", pb.ROLE_READ, "dashboard")
    assert made.expire_time == expires
    assert not made.HasField("revoke_time")


async def test_a_key_that_makes_no_sense_is_refused(keyed: Shared) -> None:
    told = await refused(create_key(keyed))
    assert told.fields == {"key.tenant": "is required", "key.role": "is required"}
    told = await refused(create_key(keyed, tenant="acme", role=9))
    assert told.fields == {"key.role": "9 is not a role: 1 (READ), 2 (SUBMIT), 3 (OPERATE) are"}
    past = time(datetime(2020, 1, 1, tzinfo=UTC))
    told = await refused(create_key(keyed, tenant="acme", role=pb.ROLE_READ, expire_time=past))
    assert "2020-01-01T00:00:00+00:00 is not in the future" in told.fields["key.expire_time"]
    told = await refused(create_key(keyed, tenant="acme", role=pb.ROLE_READ, expire_time=Timestamp(seconds=10**15)))
    assert "is not a point in time" in told.fields["key.expire_time"]
    assert (await refusal(create_key(keyed, tenant="none", role=1))).message == "no tenant 'none'"


async def test_revoking_and_listing_name_what_there_is_not(keyed: Shared) -> None:
    operator = keyed.keys["operator"]
    told = await refusal(keyed.api.tenants.RevokeKey(pb.RevokeKeyRequest(key_id="key_9"), metadata=operator))
    assert (told.code, told.message) == (grpc.StatusCode.NOT_FOUND, "no key 'key_9'")
    told = await refusal(keyed.api.tenants.ListKeys(pb.ListKeysRequest(tenant="none"), metadata=operator))
    assert told.code is grpc.StatusCode.NOT_FOUND
