"""Calls about tenants and keys."""

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta

from lorax_batch.v1 import tenants_pb2, tenants_pb2_grpc

from lorax_batch_client.sync.connection import Connection
from lorax_batch_client.tenant import Key, NewKey, Quotas, Role, Tenant
from lorax_batch_client.tenant_requests import new_key_request, tenant_update_request


class TenantCalls(Connection):
    """Who shares the service, and the keys that speak for them. All but `get_tenant` need an operator's key."""

    @property
    def _tenants(self) -> tenants_pb2_grpc.TenantsStub:
        return tenants_pb2_grpc.TenantsStub(self._channel)

    def create_tenant(self, tenant: str, *, quotas: Quotas | None = None, share_weight: float = 1.0) -> Tenant:
        """Make a tenant. A call that breaks may have made it: look before you repeat it."""
        message = tenants_pb2.Tenant(tenant=tenant, quotas=(quotas or Quotas()).to_proto(), share_weight=share_weight)
        request = tenants_pb2.CreateTenantRequest(tenant=message)
        return Tenant.from_proto(self._call(lambda: self._tenants.CreateTenant, request).tenant)

    def get_tenant(self, tenant: str = "") -> Tenant:
        """Return a tenant; without a name, that of the client's key."""
        request = tenants_pb2.GetTenantRequest(tenant=tenant)
        return Tenant.from_proto(self._call(lambda: self._tenants.GetTenant, request).tenant)

    def list_tenants(self, *, page_size: int = 0) -> Iterator[Tenant]:
        """Yield all tenants, newest first."""
        request = tenants_pb2.ListTenantsRequest(page_size=page_size)
        while True:
            page = self._call(lambda: self._tenants.ListTenants, request)
            for message in page.tenants:
                yield Tenant.from_proto(message)
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    def update_tenant(
        self,
        tenant: str,
        *,
        quotas: Mapping[str, float | None] | None = None,
        share_weight: float | None = None,
        disabled: bool | None = None,
    ) -> Tenant:
        """Change what is given: quotas by name (None: no limit from now on), the weight, or whether its keys work."""
        request = tenant_update_request(tenant, quotas=quotas or {}, share_weight=share_weight, disabled=disabled)
        return Tenant.from_proto(self._call(lambda: self._tenants.UpdateTenant, request).tenant)

    def delete_tenant(self, tenant: str) -> Tenant:
        """Disable a tenant for good, and have all that it has deleted, and itself at last: within minutes."""
        request = tenants_pb2.DeleteTenantRequest(tenant=tenant)
        return Tenant.from_proto(self._call(lambda: self._tenants.DeleteTenant, request).tenant)

    def create_key(
        self, tenant: str, role: Role, *, name: str = "", expires: datetime | timedelta | None = None
    ) -> NewKey:
        """Make a key. Keep its secret: nobody can tell it again. `expires`: a time, or from now on; None: never."""
        request = new_key_request(tenant, role, name=name, expires=expires)
        answer = self._call(lambda: self._tenants.CreateKey, request)
        return NewKey(key=Key.from_proto(answer.key), secret=answer.secret)

    def list_keys(self, *, tenant: str = "", page_size: int = 0) -> Iterator[Key]:
        """Yield the keys of a tenant or of all, newest first; revoked and expired ones too."""
        request = tenants_pb2.ListKeysRequest(page_size=page_size, tenant=tenant)
        while True:
            page = self._call(lambda: self._tenants.ListKeys, request)
            for message in page.keys:
                yield Key.from_proto(message)
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    def revoke_key(self, key: Key | str) -> Key:
        """Make a key good for nothing, for good; streams that it has opened end within seconds."""
        request = tenants_pb2.RevokeKeyRequest(key_id=key if isinstance(key, str) else key.key_id)
        return Key.from_proto(self._call(lambda: self._tenants.RevokeKey, request).key)
