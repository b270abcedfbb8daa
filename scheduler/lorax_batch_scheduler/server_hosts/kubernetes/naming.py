"""How objects in a cluster are called and labelled, so that they can be found again in a later life."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

Object = Mapping[str, Any]
"""An object of the cluster as its API tells it."""

MANAGED_BY: Final = "lorax-batch"
MANAGED_BY_LABEL: Final = "app.kubernetes.io/managed-by"
FLEET_LABEL: Final = "lorax-batch/fleet"
SLOT_LABEL: Final = "lorax-batch/slot"
SERVER_LABEL: Final = "lorax-batch/server"
FAMILY_LABEL: Final = "lorax-batch/family"
"""For people who select by it; cut to what a label may hold."""
FAMILY_ANNOTATION: Final = "lorax-batch/family"
MODEL_ANNOTATION: Final = "lorax-batch/model"
"""Model names have slashes, which labels may not have."""
LAUNCH_ANNOTATION: Final = "lorax-batch/launch"
"""The configuration and the arguments, as JSON."""
START_TIME_ANNOTATION: Final = "lorax-batch/start-time"
"""By the clock of the service; the cluster's may differ."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerName:
    """What one server and its objects are called.

    The Deployment is named after the slot: that only one can be created under a name is what keeps two services from
    using one slot. Service and Secret are named after the server, so that an address, or a late deletion, never
    reaches the next server of the slot.
    """

    fleet: str
    slot_id: str
    server_id: str

    @classmethod
    def make(cls, fleet: str, slot_id: str, identifier: str) -> "ServerName":
        """Name a new server; of the identifier, which is of hexadecimal digits, the first eight are used."""
        return cls(fleet=fleet, slot_id=slot_id, server_id=f"lorax-{fleet}-{slot_id}-{identifier[:8]}")

    @property
    def deployment(self) -> str:
        return f"lorax-{self.fleet}-{self.slot_id}"

    @property
    def service(self) -> str:
        return self.server_id

    @property
    def secret(self) -> str:
        return self.server_id

    def labels(self) -> dict[str, str]:
        """Return the labels of all its objects."""
        return {
            MANAGED_BY_LABEL: MANAGED_BY,
            FLEET_LABEL: self.fleet,
            SLOT_LABEL: self.slot_id,
            SERVER_LABEL: self.server_id,
        }


def lease_labels(fleet: str) -> dict[str, str]:
    """Return the labels of the lease of a fleet, which is of no slot and no server."""
    return {MANAGED_BY_LABEL: MANAGED_BY, FLEET_LABEL: fleet}


def fleet_selector(fleet: str) -> str:
    """Return the label selector of all objects of a fleet."""
    return f"{MANAGED_BY_LABEL}={MANAGED_BY},{FLEET_LABEL}={fleet}"


def label(item: Object, name: str) -> str:
    """Return a label of an object; "" where it has none."""
    return str((item["metadata"].get("labels") or {}).get(name, ""))


def annotation(item: Object, name: str) -> str:
    """Return an annotation of an object; "" where it has none."""
    return str((item["metadata"].get("annotations") or {}).get(name, ""))
