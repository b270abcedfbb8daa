"""Keys that come and go while the service runs: calls, open streams, other processes, a lost notification."""

import asyncio
import contextlib
from collections.abc import Awaitable
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import grpc
import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from lorax_batch.v1 import batch_inference_pb2 as pb
from lorax_batch.v1 import datasets_pb2, tenants_pb2
from lorax_batch_scheduler.clock import SystemClock
from lorax_batch_scheduler.tenant import ApiKey, Role
from lorax_batch_server.api_keys import secret_sha256
from lorax_batch_server.errors import KeyRevokedError, KeyUnknownError
from lorax_batch_server.key_ring import KeyRing

from tests.integration.api.conftest import refusal
from tests.integration.postgres.conftest import Stores
from tests.integration.tenants.conftest import POLL_S, Shared, bearer


async def made(shared: Shared, **fields: object) -> tenants_pb2.CreateKeyResponse:
    key = tenants_pb2.Key(tenant="acme", role=tenants_pb2.ROLE_SUBMIT, **fields)  # type: ignore[arg-type]
    request = tenants_pb2.CreateKeyRequest(key=key)
    return await shared.api.tenants.CreateKey(request, metadata=shared.keys["operator"])


async def revoke(shared: Shared, key_id: str) -> tenants_pb2.Key:
    request = tenants_pb2.RevokeKeyRequest(key_id=key_id)
    return (await shared.api.tenants.RevokeKey(request, metadata=shared.keys["operator"])).key


async def test_a_key_is_good_at_once_and_its_secret_is_told_once(keyed: Shared) -> None:
    answer = await made(keyed, name="ci")
    assert answer.key.tenant == "acme"
    assert answer.secret.startswith("lxb_")
    await keyed.api.jobs.ListJobs(pb.ListJobsRequest(), metadata=bearer(answer.secret))
    listed = await keyed.api.tenants.ListKeys(tenants_pb2.ListKeysRequest(), metadata=keyed.keys["operator"])
    assert answer.key in listed.keys
    assert answer.secret not in str(listed)
    async with keyed.stores.database.connection() as connection:
        stored = [str(dict(record)) for record in await connection.fetch("SELECT * FROM api_keys")]
    assert not any(answer.secret in record for record in stored)


async def test_a_revoked_key_opens_nothing_more(keyed: Shared) -> None:
    answer = await made(keyed)
    await keyed.api.jobs.ListJobs(pb.ListJobsRequest(), metadata=bearer(answer.secret))
    first = await revoke(keyed, answer.key.key_id)
    assert first.HasField("revoke_time")
    assert await revoke(keyed, answer.key.key_id) == first
    call = partial(keyed.api.jobs.ListJobs, pb.ListJobsRequest(), metadata=bearer(answer.secret))
    async with asyncio.timeout(5):
        while await call().code() is grpc.StatusCode.OK:
            pass
    assert (await refusal(call())).reason == "API_KEY_REVOKED"


async def to_the_end(stream: Any) -> None:
    """Read a stream until it ends."""
    while await stream.read() is not grpc.aio.EOF:
        pass


@pytest.mark.parametrize("how", ["revoked", "expired"])
async def test_open_streams_end_with_their_key(keyed: Shared, how: str) -> None:
    if how == "revoked":
        answer = await made(keyed)
        metadata = bearer(answer.secret)
    else:
        soon = datetime.now(UTC) + timedelta(seconds=0.5)
        metadata = await keyed.add_key("soon over", "acme", Role.SUBMIT, expire_time=soon)
    other = keyed.api.jobs.WatchJobs(pb.WatchJobsRequest(), metadata=keyed.keys["acme read"])
    watch = keyed.api.jobs.WatchJobs(pb.WatchJobsRequest(), metadata=metadata)
    await other.read()
    await watch.read()
    if how == "revoked":
        await revoke(keyed, answer.key.key_id)
    async with asyncio.timeout(10):
        told = await refusal(to_the_end(watch))
    assert (told.code, told.reason) == (grpc.StatusCode.UNAUTHENTICATED, f"API_KEY_{how.upper()}")
    assert await other.read()  # a heartbeat: another key's stream goes on
    other.cancel()


async def test_a_disabled_tenant_is_shut_out_with_its_streams_until_it_is_enabled(keyed: Shared) -> None:
    async def disable(value: bool) -> None:
        request = tenants_pb2.UpdateTenantRequest(
            tenant=tenants_pb2.Tenant(tenant="acme", disabled=value), update_mask=FieldMask(paths=["disabled"])
        )
        await keyed.api.tenants.UpdateTenant(request, metadata=keyed.keys["operator"])

    watch = keyed.api.jobs.WatchJobs(pb.WatchJobsRequest(), metadata=keyed.keys["acme read"])
    await watch.read()
    await disable(True)
    async with asyncio.timeout(10):
        told = await refusal(to_the_end(watch))
    assert (told.code, told.reason) == (grpc.StatusCode.UNAUTHENTICATED, "TENANT_DISABLED")
    assert (
        await refusal(keyed.api.jobs.ListJobs(pb.ListJobsRequest(), metadata=keyed.keys["acme submit"]))
    ).reason == ("TENANT_DISABLED")
    await keyed.api.jobs.ListJobs(pb.ListJobsRequest(), metadata=keyed.keys["globex read"])
    await disable(False)
    call = partial(keyed.api.jobs.ListJobs, pb.ListJobsRequest(), metadata=keyed.keys["acme read"])
    async with asyncio.timeout(10):
        while await call().code() is not grpc.StatusCode.OK:
            pass


async def test_an_upload_ends_with_its_key(keyed: Shared) -> None:
    answer = await made(keyed)
    upload = keyed.api.datasets.UploadDataset(metadata=bearer(answer.secret))
    await upload.write(datasets_pb2.UploadDatasetRequest(start=datasets_pb2.UploadStart(name="slow")))
    await upload.write(datasets_pb2.UploadDatasetRequest(data=b"x"))
    await revoke(keyed, answer.key.key_id)
    async with asyncio.timeout(10):
        with contextlib.suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
            while True:  # it would go on sending
                await upload.write(datasets_pb2.UploadDatasetRequest(data=b"x"))
    assert (await refusal(upload)).reason == "API_KEY_REVOKED"


class DeafStore:
    """Never tells of a change."""

    def __init__(self, stores: Stores) -> None:
        self._store = stores.access

    def __getattr__(self, name: str) -> object:
        return getattr(self._store, name)

    def on_change(self, hear: object) -> object:
        return lambda: None


async def stay_open(ring: KeyRing, key_id: str, *, begun: Awaitable[object]) -> None:
    """Run a stream that does not end by itself; await `begun` when it is open."""
    async with ring.while_good(key_id):
        await begun
        await asyncio.Event().wait()


async def test_a_lost_notification_is_made_good_by_the_poll(keyed: Shared) -> None:
    ring = KeyRing(DeafStore(keyed.stores), SystemClock(), poll_s=POLL_S)  # type: ignore[arg-type]  # the rest is there
    secret = secret_sha256((await made(keyed)).secret)
    key = await ring.find(secret)
    running = asyncio.create_task(ring.run())
    async with asyncio.timeout(10):
        with pytest.raises(KeyRevokedError):
            await stay_open(ring, key.key_id, begun=revoke(keyed, key.key_id))
    with pytest.raises(KeyRevokedError):
        await ring.find(secret)
    running.cancel()
    await asyncio.wait([running])


async def test_another_process_knows_a_key_that_was_made_a_moment_ago(keyed: Shared) -> None:
    """Its ring does not run: it hears of nothing, and asks because it does not know the key."""
    elsewhere = KeyRing(keyed.stores.access, SystemClock())
    answer = await made(keyed)
    assert (await elsewhere.find(secret_sha256(answer.secret))).key_id == answer.key.key_id


class CountingStore:
    """Counts what is asked of the store."""

    def __init__(self, stores: Stores) -> None:
        self._store = stores.access
        self.versions = 0
        self.tables = 0

    def __getattr__(self, name: str) -> object:
        return getattr(self._store, name)

    async def access_version(self) -> int:
        self.versions += 1
        return await self._store.access_version()

    async def access_table(self) -> object:
        self.tables += 1
        return await self._store.access_table()


async def test_known_keys_cost_no_query_and_unknown_ones_share_theirs(keyed: Shared) -> None:
    store = CountingStore(keyed.stores)
    ring = KeyRing(store, SystemClock())  # type: ignore[arg-type]  # the rest is the store's
    secret = (await made(keyed)).secret
    key: ApiKey = await ring.find(secret_sha256(secret))
    assert (store.versions, store.tables) == (1, 1)
    for _ in range(100):
        assert await ring.find(secret_sha256(secret)) is key
    assert (store.versions, store.tables) == (1, 1)
    guesses = [ring.find(secret_sha256(f"lxb_guess-{number}")) for number in range(200)]
    found = await asyncio.gather(*guesses, return_exceptions=True)
    assert {type(one) for one in found} == {KeyUnknownError}
    assert store.versions <= 4
    assert store.tables == 1
