"""Tenants: who shares the service, what each may use of it, and the keys that speak for them."""

import re
from datetime import datetime
from enum import StrEnum
from typing import Final

import msgspec

from lorax_batch_scheduler.errors import QuotaExceededError

DEFAULT_TENANT: Final = "default"
"""Owns what nobody else does: all that was made before there were tenants, or without keys."""
TENANT_NAME: Final = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
"""Lower-case letters, digits and dashes inside, at most 63: also good as a label, a path or a host name."""


_DELETE: Final = "delete datasets or ended jobs"


class Role(StrEnum):
    """What a key may do; each may do all that the ones before it may. The same words in SQL and in the contract."""

    READ = "READ"
    """See its tenant's datasets, jobs and results."""
    SUBMIT = "SUBMIT"
    """Also make, change and delete them."""
    OPERATE = "OPERATE"
    """Also see and change those of all tenants, the fleet, tenants and keys."""

    def allows(self, needed: "Role") -> bool:
        """Tell whether this role may do what needs the other."""
        return _RANKS[self] >= _RANKS[needed]


_RANKS: Final = {role: rank for rank, role in enumerate(Role)}


class Quotas(msgspec.Struct, frozen=True, kw_only=True):
    """What a tenant may use at most; None: no limit."""

    queued_jobs: int | None = None
    """Jobs that have not ended."""
    queued_tokens: int | None = None
    """Of rows without a result in jobs that have not ended: prompt tokens, and the output tokens that they allow."""
    dataset_rows: int | None = None
    """Lines of one dataset."""
    stored_bytes: int | None = None
    """Of datasets as uploaded, and of result files."""
    requests_per_second: float | None = None
    """Calls that one process of the service takes; as many may come at once."""


class TenantUsage(msgspec.Struct, frozen=True, kw_only=True):
    """What a tenant uses now, counted as `Quotas` are."""

    queued_jobs: int = 0
    queued_tokens: int = 0
    stored_bytes: int = 0


class Tenant(msgspec.Struct, frozen=True, kw_only=True):
    """A tenant as it is stored."""

    tenant: str
    """Its name, which never changes."""
    quotas: Quotas
    share_weight: float
    """Of the fleet, beside the weights of the other tenants that have work."""
    usage: TenantUsage
    create_time: datetime
    update_time: datetime
    disable_time: datetime | None = None
    """Since when its keys are good for nothing; None: they are good."""
    delete_time: datetime | None = None
    """Since when it is being deleted, with all that it has."""


class Storage(msgspec.Struct, frozen=True, kw_only=True):
    """What a tenant has stored, and what it may store."""

    tenant: str
    limit: int | None = None
    """Bytes; None: any number, and `used` is not counted."""
    used: int = 0

    def check(self, asked: int) -> None:
        """Raise `QuotaExceededError` when so many bytes more are too many."""
        if self.limit is not None and self.used + asked > self.limit:
            raise QuotaExceededError(
                self.tenant, "stored_bytes", limit=self.limit, used=self.used, asked=asked, way_out=_DELETE
            )


class ApiKey(msgspec.Struct, frozen=True, kw_only=True):
    """A key without its secret, of which only the SHA-256 is stored."""

    key_id: str
    tenant: str
    role: Role
    name: str
    """For people."""
    create_time: datetime
    expire_time: datetime | None = None
    revoke_time: datetime | None = None

    def is_good(self, now: datetime) -> bool:
        """Whether calls may be made with it."""
        return self.revoke_time is None and (self.expire_time is None or self.expire_time > now)


class NewKey(msgspec.Struct, frozen=True, kw_only=True):
    """What an operator asks for, checked."""

    key_id: str
    tenant: str
    role: Role
    secret_sha256: bytes
    name: str = ""
    expire_time: datetime | None = None


class AccessTable(msgspec.Struct, frozen=True, kw_only=True):
    """All that is needed to tell who calls, and how often they may."""

    version: int
    """Grows with every change."""
    keys: dict[bytes, ApiKey]
    """By the SHA-256 of their secrets; revoked and expired ones too."""
    request_rates: dict[str, float]
    """Requests a second by tenant; those that are missing have no limit."""
    disabled: frozenset[str] = frozenset()
    """Tenants whose keys are good for nothing."""


def scoped_request_id(tenant: str, request_id: str | None) -> str | None:
    """Return what a tenant's request_id is stored as: no two tenants have the same."""
    if request_id is None or tenant == DEFAULT_TENANT:
        return request_id
    # Requests are checked for control characters, so that no caller can name one of another tenant.
    return f"{tenant}\x1f{request_id}"
