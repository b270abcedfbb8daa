"""The fleet file: which slots there are, of every kind, and how servers are started on them.

[[slots]]
id = "gpu-0"
gpus = [0]
template = "docker"                # shipped: docker, launcher, simulator; or one of [templates]
gpu_kind = "a100-80"
gpu_memory_gib = 80

[[slots]]                          # two small servers on one GPU
id = "gpu-1-left"
gpus = [1]
share = 0.5

[templates.mine]
command = ["my-launcher", "--port", "{port}", "--model", "{model}", "{args}"]

[[static]]
url = "http://10.0.0.7:8080"

[kubernetes]                       # read by the kubernetes part
namespace = "lorax"
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from lorax_batch_scheduler.errors import ConfigurationError
from lorax_batch_scheduler.fleet import Slot
from lorax_batch_scheduler.server_hosts.command import CommandSlot
from lorax_batch_scheduler.server_hosts.command_entry import read_command_slots
from lorax_batch_scheduler.server_hosts.fleet_entry import check_keys, entries, shown
from lorax_batch_scheduler.server_hosts.static_entry import read_static_slot
from lorax_batch_scheduler.server_hosts.template_entry import read_templates
from lorax_batch_scheduler.toml_file import read_toml

_KEYS: Final = ("slots", "templates", "static", "kubernetes")


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetPlan:
    """What a fleet file says."""

    command: tuple[CommandSlot, ...] = ()
    static: tuple[Slot, ...] = ()
    kubernetes: Mapping[str, Any] | None = field(default=None, repr=False)
    """The table as it stands; None: there is none."""

    @property
    def is_empty(self) -> bool:
        """Whether it has no place for a server."""
        return not self.command and not self.static and self.kubernetes is None


def load_fleet(path: Path) -> FleetPlan:
    """Read and check a fleet file.

    Raises:
        ConfigurationError: names the file, the entry and the field that is wrong.
    """
    document = read_toml(path, "fleet file")
    return parse_fleet(document, f"fleet file '{path}'")


def parse_fleet(document: dict[str, Any], source: str) -> FleetPlan:
    """Check what a fleet file says; `source` is what to call it in an error. Raises `ConfigurationError`."""
    check_keys(document, _KEYS, source)
    templates = read_templates(document.get("templates", {}), source)
    command = read_command_slots(entries(document, "slots", source), templates)
    static = tuple(read_static_slot(raw, where) for where, raw in entries(document, "static", source))
    kubernetes = document.get("kubernetes")
    if kubernetes is not None and not isinstance(kubernetes, dict):
        raise ConfigurationError(f"{source}: kubernetes: must be a table, not {shown(kubernetes)}")
    plan = FleetPlan(command=command, static=static, kubernetes=kubernetes)
    if plan.is_empty:
        raise ConfigurationError(f"{source}: has no slots: give it [[slots]], [[static]] or [kubernetes]")
    _check_distinct([slot.slot for slot in command] + list(static), source)
    return plan


def _check_distinct(slots: Sequence[Slot], source: str) -> None:
    ids: set[str] = set()
    urls: set[str] = set()
    for slot in slots:
        if slot.slot_id in ids or slot.url in urls:
            raise ConfigurationError(
                f"{source}: there are two slots '{slot.url or slot.slot_id}': give each an id or url of its own"
            )
        ids.add(slot.slot_id)
        urls.update([slot.url] if slot.url else [])
