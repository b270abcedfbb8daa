"""Where tenants and keys are kept."""

from collections.abc import Callable, Mapping
from typing import Protocol

from lorax_batch_scheduler.ports.page import Page
from lorax_batch_scheduler.tenant import AccessTable, ApiKey, NewKey, Quotas, Tenant


class AccessStore(Protocol):
    """Tenants and keys. Raises `NotFoundError` for unknown ones, `DatabaseError` when out of reach."""

    async def create_tenant(self, tenant: str, quotas: Quotas, share_weight: float) -> Tenant:
        """Store a tenant. Raises `AlreadyExistsError`."""
        ...

    async def get_tenant(self, tenant: str) -> Tenant: ...

    async def list_tenants(self, *, page_size: int, page_token: str) -> Page[Tenant]:
        """Return tenants, newest first. Raises `InvalidInputError` for a token that is not ours."""
        ...

    async def update_tenant(
        self,
        tenant: str,
        *,
        quotas: Mapping[str, float | None],
        share_weight: float | None,
        disabled: bool | None = None,
    ) -> Tenant:
        """Change the quotas that are named (None: no limit from now on), and the rest unless it is None.

        Raises `StateConflictError` when one that is being deleted is to be enabled.
        """
        ...

    async def delete_tenant(self, tenant: str) -> Tenant:
        """Let it do nothing more, and have all that it has deleted in the background."""
        ...

    async def create_key(self, new: NewKey) -> ApiKey:
        """Store a key. Raises `NotFoundError` for its tenant."""
        ...

    async def ensure_key(self, new: NewKey) -> ApiKey:
        """Store a key unless its secret is known already, be it revoked or expired; return what is stored."""
        ...

    async def list_keys(self, tenant: str | None, *, page_size: int, page_token: str) -> Page[ApiKey]:
        """Return keys of one tenant or (None) of all, newest first. Raises `InvalidInputError` as above."""
        ...

    async def revoke_key(self, key_id: str) -> ApiKey:
        """Make a key good for nothing; one that is revoked already stays as it is."""
        ...

    async def access_version(self) -> int:
        """Return what grows with every change of tenants and keys."""
        ...

    async def access_table(self) -> AccessTable: ...

    def on_change(self, hear: Callable[[], None]) -> Callable[[], None]:
        """Call `hear()` on the event loop when tenants or keys may have changed; return what ends that."""
        ...
