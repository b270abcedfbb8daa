"""Requests about tenants and keys, as both clients make them."""

from collections.abc import Mapping
from datetime import datetime, timedelta

from google.protobuf.field_mask_pb2 import FieldMask
from lorax_batch.v1 import tenants_pb2

from lorax_batch_client.tenant import Role, quotas_message
from lorax_batch_client.timestamps import timestamp_from


def tenant_update_request(
    tenant: str, *, quotas: Mapping[str, float | None], share_weight: float | None, disabled: bool | None
) -> tenants_pb2.UpdateTenantRequest:
    """Return the request that changes what is given."""
    paths = [f"quotas.{name}" for name in quotas] + (["share_weight"] if share_weight is not None else [])
    if disabled is not None:
        paths.append("disabled")
    message = tenants_pb2.Tenant(
        tenant=tenant, quotas=quotas_message(quotas), share_weight=share_weight or 0.0, disabled=disabled or False
    )
    return tenants_pb2.UpdateTenantRequest(tenant=message, update_mask=FieldMask(paths=paths))


def new_key_request(
    tenant: str, role: Role, *, name: str, expires: datetime | timedelta | None
) -> tenants_pb2.CreateKeyRequest:
    """Return the request for a key; `expires` is a time, or from now on."""
    key = tenants_pb2.Key(tenant=tenant, role=role.to_proto(), name=name)
    if expires is not None:
        key.expire_time.CopyFrom(timestamp_from(expires))
    return tenants_pb2.CreateKeyRequest(key=key)
