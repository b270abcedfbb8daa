"""Tenants and keys as messages of the contract."""

from typing import Final

import msgspec
from lorax_batch.v1 import tenants_pb2 as pb
from lorax_batch_scheduler.tenant import ApiKey, Quotas, Role, Tenant

from lorax_batch_server.timestamps import timestamp

ROLE_NUMBERS: Final[dict[Role, pb.Role.ValueType]] = {role: pb.Role.Value(f"ROLE_{role.value}") for role in Role}
ROLES_BY_NUMBER: Final = {number: role for role, number in ROLE_NUMBERS.items()}


def tenant_message(tenant: Tenant) -> pb.Tenant:
    """Return the message."""
    return pb.Tenant(
        tenant=tenant.tenant,
        quotas=_quotas_message(tenant.quotas),
        share_weight=tenant.share_weight,
        usage=pb.TenantUsage(
            queued_jobs=tenant.usage.queued_jobs,
            queued_tokens=tenant.usage.queued_tokens,
            stored_bytes=tenant.usage.stored_bytes,
        ),
        create_time=timestamp(tenant.create_time),
        update_time=timestamp(tenant.update_time),
        disabled=tenant.disable_time is not None,
        delete_time=timestamp(tenant.delete_time),
    )


def key_message(key: ApiKey) -> pb.Key:
    """Return the message, which never holds the secret."""
    return pb.Key(
        key_id=key.key_id,
        tenant=key.tenant,
        role=ROLE_NUMBERS[key.role],
        name=key.name,
        expire_time=timestamp(key.expire_time),
        create_time=timestamp(key.create_time),
        revoke_time=timestamp(key.revoke_time),
    )


def _quotas_message(quotas: Quotas) -> pb.Quotas:
    return pb.Quotas(**{name: limit for name, limit in msgspec.structs.asdict(quotas).items() if limit is not None})
