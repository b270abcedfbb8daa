"""Tenants and keys as the service tells them."""

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import Any

from lorax_batch.v1 import tenants_pb2

from lorax_batch_client.timestamps import datetime_from


class Role(enum.Enum):
    """What a key may do; each role may do all that the ones before it may."""

    UNKNOWN = "unknown"
    """A role that this client does not know: the service is newer."""
    READ = "read"
    """See its tenant's datasets, jobs and results."""
    SUBMIT = "submit"
    """Also make, change and delete them."""
    OPERATE = "operate"
    """Also see and change those of all tenants, the fleet, tenants and keys."""

    @classmethod
    def from_proto(cls, number: int) -> "Role":
        """Return the role with that number in the contract."""
        try:
            return cls[tenants_pb2.Role.Name(tenants_pb2.Role.ValueType(number)).removeprefix("ROLE_")]
        except (KeyError, ValueError):
            return cls.UNKNOWN

    def to_proto(self) -> tenants_pb2.Role.ValueType:
        """Return its number in the contract."""
        return tenants_pb2.Role.Value(f"ROLE_{self.name}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Quotas:
    """What a tenant may use at most; None: no limit."""

    queued_jobs: int | None = None
    """Jobs that have not ended."""
    queued_tokens: int | None = None
    """Of rows without a result: prompt tokens, and the output tokens that they allow."""
    dataset_rows: int | None = None
    stored_bytes: int | None = None
    """Of datasets as uploaded, and of result files."""
    requests_per_second: float | None = None
    """Calls that one process of the service takes."""

    @classmethod
    def from_proto(cls, message: tenants_pb2.Quotas) -> "Quotas":
        """Return the quotas of a message."""
        given: dict[str, Any] = {descriptor.name: value for descriptor, value in message.ListFields()}
        return cls(**{each.name: given.get(each.name) for each in fields(cls)})

    def to_proto(self) -> tenants_pb2.Quotas:
        """Return the message."""
        return quotas_message({each.name: getattr(self, each.name) for each in fields(self)})


def quotas_message(quotas: Mapping[str, float | None]) -> tenants_pb2.Quotas:
    """Return the message of quotas by name."""
    given: dict[str, Any] = {name: limit for name, limit in quotas.items() if limit is not None}
    return tenants_pb2.Quotas(**given)


@dataclass(frozen=True, slots=True, kw_only=True)
class TenantUsage:
    """What a tenant uses now, counted as its quotas are."""

    queued_jobs: int
    queued_tokens: int
    stored_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Tenant:
    """Who shares the service."""

    tenant: str
    """Its name."""
    quotas: Quotas
    share_weight: float
    """Of the fleet, beside the weights of other tenants that have work."""
    usage: TenantUsage
    create_time: datetime | None
    update_time: datetime | None
    disabled: bool
    """Its keys are good for nothing."""
    delete_time: datetime | None
    """Since when it is being deleted, with all that it has; None: it is not."""

    @classmethod
    def from_proto(cls, message: tenants_pb2.Tenant) -> "Tenant":
        """Return the tenant of a message."""
        return cls(
            tenant=message.tenant,
            quotas=Quotas.from_proto(message.quotas),
            share_weight=message.share_weight,
            usage=TenantUsage(
                queued_jobs=message.usage.queued_jobs,
                queued_tokens=message.usage.queued_tokens,
                stored_bytes=message.usage.stored_bytes,
            ),
            create_time=datetime_from(message.create_time),
            update_time=datetime_from(message.update_time),
            disabled=message.disabled,
            delete_time=datetime_from(message.delete_time),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """A key without its secret."""

    key_id: str
    tenant: str
    role: Role
    name: str
    create_time: datetime | None
    expire_time: datetime | None
    """None: never."""
    revoke_time: datetime | None

    @classmethod
    def from_proto(cls, message: tenants_pb2.Key) -> "Key":
        """Return the key of a message."""
        return cls(
            key_id=message.key_id,
            tenant=message.tenant,
            role=Role.from_proto(message.role),
            name=message.name,
            create_time=datetime_from(message.create_time),
            expire_time=datetime_from(message.expire_time),
            revoke_time=datetime_from(message.revoke_time),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class NewKey:
    """A key that was just made."""

    key: Key
    secret: str = field(repr=False)
    """What callers send: give it to the client as `api_key`. The service does not tell it again."""
