"""The Tenants service: who shares the service, and the keys that speak for them."""

from collections.abc import Callable
from typing import Any, Final

import grpc
import structlog
from lorax_batch.v1 import tenants_pb2 as pb
from lorax_batch.v1 import tenants_pb2_grpc
from lorax_batch_scheduler.clock import Clock
from lorax_batch_scheduler.errors import NotFoundError
from lorax_batch_scheduler.ports import AccessStore

from lorax_batch_server.api_keys import new_key_id, new_secret, secret_sha256
from lorax_batch_server.caller import current_caller
from lorax_batch_server.checks import MAX_NAME_CHARACTERS, Checks, known_id
from lorax_batch_server.tenant_requests import (
    check_new_key,
    check_new_tenant,
    check_tenant_deletion,
    check_tenant_update,
)
from lorax_batch_server.translate_tenant import key_message, tenant_message

DEFAULT_PAGE_SIZE: Final = 50
_Context = grpc.aio.ServicerContext[Any, Any]
_log = structlog.get_logger(__name__)


class TenantsService(tenants_pb2_grpc.TenantsServicer):
    """See the contract. Errors are raised as they are; the interceptor gives them their status."""

    def __init__(self, store: AccessStore, clock: Clock, *, make_secret: Callable[[], str] = new_secret) -> None:
        self._store = store
        self._clock = clock
        self._make_secret = make_secret

    async def CreateTenant(self, request: pb.CreateTenantRequest, context: _Context) -> pb.CreateTenantResponse:
        name, quotas, weight = check_new_tenant(request.tenant)
        created = await self._store.create_tenant(name, quotas, weight)
        _log.info("tenant_created", created=name, by=current_caller().key_id)
        return pb.CreateTenantResponse(tenant=tenant_message(created))

    async def GetTenant(self, request: pb.GetTenantRequest, context: _Context) -> pb.GetTenantResponse:
        caller = current_caller()
        name = known_id("tenant", "tenant", request.tenant or caller.tenant)
        if not caller.is_shown(name):
            raise NotFoundError("tenant", name)
        return pb.GetTenantResponse(tenant=tenant_message(await self._store.get_tenant(name)))

    async def ListTenants(self, request: pb.ListTenantsRequest, context: _Context) -> pb.ListTenantsResponse:
        checks = Checks()
        size = checks.page(request.page_size, request.page_token, default=DEFAULT_PAGE_SIZE)
        checks.done()
        page = await self._store.list_tenants(page_size=size, page_token=request.page_token)
        messages = [tenant_message(tenant) for tenant in page.items]
        return pb.ListTenantsResponse(tenants=messages, next_page_token=page.next_token)

    async def UpdateTenant(self, request: pb.UpdateTenantRequest, context: _Context) -> pb.UpdateTenantResponse:
        asked = check_tenant_update(request)
        name = known_id("tenant", "tenant.tenant", request.tenant.tenant)
        updated = await self._store.update_tenant(
            name, quotas=asked.quotas, share_weight=asked.share_weight, disabled=asked.disabled
        )
        _log.info("tenant_updated", updated=name, by=current_caller().key_id)
        return pb.UpdateTenantResponse(tenant=tenant_message(updated))

    async def DeleteTenant(self, request: pb.DeleteTenantRequest, context: _Context) -> pb.DeleteTenantResponse:
        deleted = await self._store.delete_tenant(check_tenant_deletion(request))
        _log.info("tenant_deletion_began", tenant=deleted.tenant, by=current_caller().key_id)
        return pb.DeleteTenantResponse(tenant=tenant_message(deleted))

    async def CreateKey(self, request: pb.CreateKeyRequest, context: _Context) -> pb.CreateKeyResponse:
        secret = self._make_secret()
        new = check_new_key(
            request.key, key_id=new_key_id(), secret_sha256=secret_sha256(secret), now=self._clock.now()
        )
        key = await self._store.create_key(new)
        _log.info("key_created", created=key.key_id, owner=key.tenant, role=key.role, by=current_caller().key_id)
        return pb.CreateKeyResponse(key=key_message(key), secret=secret)

    async def ListKeys(self, request: pb.ListKeysRequest, context: _Context) -> pb.ListKeysResponse:
        checks = Checks()
        size = checks.page(request.page_size, request.page_token, default=DEFAULT_PAGE_SIZE)
        checks.text("tenant", request.tenant, limit=MAX_NAME_CHARACTERS)
        checks.done()
        if request.tenant:
            await self._store.get_tenant(request.tenant)  # a name that is mistyped has no keys either
        page = await self._store.list_keys(request.tenant or None, page_size=size, page_token=request.page_token)
        return pb.ListKeysResponse(keys=[key_message(key) for key in page.items], next_page_token=page.next_token)

    async def RevokeKey(self, request: pb.RevokeKeyRequest, context: _Context) -> pb.RevokeKeyResponse:
        key = await self._store.revoke_key(known_id("key", "key_id", request.key_id))
        _log.info("key_revoked", revoked=key.key_id, owner=key.tenant, by=current_caller().key_id)
        return pb.RevokeKeyResponse(key=key_message(key))
