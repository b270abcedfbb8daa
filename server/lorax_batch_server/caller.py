"""Who makes the call at hand: set by the interceptor, asked by whatever must not do the same for everybody."""

from contextvars import ContextVar
from dataclasses import dataclass
from typing import Final

from lorax_batch_scheduler.tenant import DEFAULT_TENANT, Role


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """For whom a call is made, and what it may do."""

    tenant: str
    """What the call makes is its; names are looked up among what it has."""
    role: Role
    key_id: str = ""
    """Empty: calls need no key."""

    @property
    def sees(self) -> str | None:
        """The tenant whose things it sees; None: it sees those of all."""
        return None if self.role.allows(Role.OPERATE) else self.tenant

    def is_shown(self, tenant: str) -> bool:
        """Tell whether it sees what belongs to a tenant."""
        return self.sees in {None, tenant}


EVERYBODY: Final = Caller(tenant=DEFAULT_TENANT, role=Role.OPERATE)
"""Who calls a service that asks for no keys."""

_caller: ContextVar[Caller] = ContextVar("caller")


def set_caller(caller: Caller) -> None:
    """Remember who makes the call at hand; each call runs in a context of its own."""
    _caller.set(caller)


def current_caller() -> Caller:
    """Return who makes the call at hand. Raises `LookupError` where nobody was asked, so that nothing is shown."""
    return _caller.get()
