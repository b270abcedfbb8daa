"""Checks requests about tenants and keys and turns them into the scheduler's values; pure."""

from datetime import datetime
from typing import Final

import msgspec
from lorax_batch.v1 import tenants_pb2 as pb
from lorax_batch_scheduler.tenant import DEFAULT_TENANT, TENANT_NAME, NewKey, Quotas, Role

from lorax_batch_server.checks import MAX_NAME_CHARACTERS, Checks, known_id, shown
from lorax_batch_server.timestamps import aware
from lorax_batch_server.translate_tenant import ROLES_BY_NUMBER

MAX_QUOTA: Final = 10**15
"""More than any tenant uses, and far from what overflows when it is counted."""
MAX_REQUESTS_PER_SECOND: Final = 1_000_000.0
MIN_REQUESTS_PER_SECOND: Final = 0.001
MIN_SHARE_WEIGHT: Final = 0.001
MAX_SHARE_WEIGHT: Final = 1_000.0
MAX_MASK_PATHS: Final = 100
_QUOTAS: Final = tuple(field.name for field in pb.Quotas.DESCRIPTOR.fields)
_MASK: Final = ("share_weight", "disabled", "quotas", *(f"quotas.{name}" for name in _QUOTAS))


def check_new_tenant(message: pb.Tenant) -> tuple[str, Quotas, float]:
    """Return name, quotas and weight of a tenant to make. Raises `InvalidRequestError`."""
    checks = Checks()
    if not TENANT_NAME.fullmatch(message.tenant):
        checks.fail(
            "tenant.tenant",
            f"{shown(message.tenant)} is no name for a tenant: 1 to 63 lower-case letters, digits and, between them, "
            "dashes",
        )
    quotas = _quotas(checks, message.quotas, _QUOTAS)
    # 0 cannot be told from unset, and a share of nothing is not wanted.
    weight = message.share_weight or 1.0
    _check_weight(checks, weight)
    if message.disabled:
        checks.fail(
            "tenant.disabled", "a new tenant has no keys: leave it unset, and update the tenant when it has some"
        )
    checks.done()
    return message.tenant, Quotas(**quotas), weight  # type: ignore[arg-type]  # whole numbers but for the rate


class TenantUpdate(msgspec.Struct, frozen=True, kw_only=True):
    """What is to change of a tenant; None: it stays."""

    quotas: dict[str, float | None]
    """Those that are named; None: no limit from now on."""
    share_weight: float | None
    disabled: bool | None


def check_tenant_update(request: pb.UpdateTenantRequest) -> TenantUpdate:
    """Return what is to change. Raises `InvalidRequestError`."""
    checks = Checks()
    paths = set(request.update_mask.paths)
    if not paths:
        checks.fail("update_mask", f"is empty: name what to change, of {', '.join(_MASK)}")
    fits = checks.size("update_mask", len(paths), limit=MAX_MASK_PATHS)
    for path in sorted(paths.difference(_MASK)) if fits else ():
        checks.fail("update_mask", f"{shown(path)} can't be changed; only {', '.join(_MASK)} can")
    named = [name for name in _QUOTAS if "quotas" in paths or f"quotas.{name}" in paths]
    quotas = _quotas(checks, request.tenant.quotas, named)
    weight = request.tenant.share_weight if "share_weight" in paths else None
    if weight is not None:
        _check_weight(checks, weight)
    disabled = request.tenant.disabled if "disabled" in paths else None
    if disabled and request.tenant.tenant == DEFAULT_TENANT:
        checks.fail("tenant.disabled", f"'{DEFAULT_TENANT}' has the operator's key: it can't be disabled")
    checks.done()
    return TenantUpdate(quotas=quotas, share_weight=weight, disabled=disabled)


def check_tenant_deletion(request: pb.DeleteTenantRequest) -> str:
    """Return which tenant to delete. Raises `InvalidRequestError`, `NotFoundError`."""
    checks = Checks()
    if request.tenant == DEFAULT_TENANT:
        checks.fail("tenant", f"'{DEFAULT_TENANT}' has the operator's key: it can't be deleted, only what it has")
    checks.done()
    return known_id("tenant", "tenant", request.tenant)


def check_new_key(message: pb.Key, *, key_id: str, secret_sha256: bytes, now: datetime) -> NewKey:
    """Return the key to make. Raises `InvalidRequestError`."""
    checks = Checks()
    checks.text("key.tenant", message.tenant, limit=MAX_NAME_CHARACTERS, required=True)
    checks.text("key.name", message.name, limit=MAX_NAME_CHARACTERS)
    role = ROLES_BY_NUMBER.get(message.role)
    if role is None:
        choices = ", ".join(f"{number} ({role.value})" for number, role in ROLES_BY_NUMBER.items())
        checks.fail("key.role", f"{int(message.role)} is not a role: {choices} are" if message.role else "is required")
    expire_time = _expire_time(checks, message, now) if message.HasField("expire_time") else None
    checks.done()
    return NewKey(
        key_id=key_id,
        tenant=message.tenant,
        role=role or Role.READ,
        name=message.name,
        secret_sha256=secret_sha256,
        expire_time=expire_time,
    )


def _quotas(checks: Checks, message: pb.Quotas, names: "tuple[str, ...] | list[str]") -> dict[str, float | None]:
    found: dict[str, float | None] = {}
    for name in names:
        limit = getattr(message, name) if message.HasField(name) else None  # type: ignore[arg-type]  # a field's name
        found[name] = limit
        field = f"tenant.quotas.{name}"
        if limit == 0:
            checks.fail(field, "0 would allow nothing: leave it unset for no limit; to shut a tenant out, disable it")
        elif limit is not None and name == "requests_per_second":
            checks.number(field, limit, low=MIN_REQUESTS_PER_SECOND, high=MAX_REQUESTS_PER_SECOND)
        elif limit is not None:
            checks.number(field, limit, low=1, high=MAX_QUOTA)
    return found


def _check_weight(checks: Checks, weight: float) -> None:
    checks.number("tenant.share_weight", weight, low=MIN_SHARE_WEIGHT, high=MAX_SHARE_WEIGHT)


def _expire_time(checks: Checks, message: pb.Key, now: datetime) -> datetime | None:
    try:
        time = aware(message.expire_time)
    except (ValueError, OverflowError):
        checks.fail("key.expire_time", "is not a point in time between the years 1 and 9999")
        return None
    if time <= now:
        checks.fail("key.expire_time", f"{time.isoformat()} is not in the future; it is {now.isoformat()} here")
    return time
