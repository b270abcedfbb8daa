"""A slot on GPUs of this host."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from lorax_batch_scheduler.fleet import Slot
from lorax_batch_scheduler.server_hosts.command.template import CommandTemplate

GRACE_S: Final = 95.0
"""LoRAX's launcher gives rows in flight 90 s."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandSlot:
    """Where one server runs as a process, and how it is started there."""

    slot: Slot
    template: CommandTemplate
    gpus: tuple[str, ...]
    """Numbers as nvidia-smi shows them, or UUIDs (MIG ones too)."""
    share: float = 1.0
    """Of the memory of each of its GPUs; above 0, at most 1."""
    gpu_memory_gib: float = 0.0
    """Of each of its GPUs, the whole of it; 0: unknown."""
    port: int | None = None
    """None: a free one for each server."""
    grace_s: float = GRACE_S
    """How long a server that was told to end may take before it is killed."""
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Further variables of its servers; may hold secrets."""
    values: Mapping[str, str] = field(default_factory=dict)
    """Instead of the template's values of the same names."""

    @property
    def slot_id(self) -> str:
        """The slot's id."""
        return self.slot.slot_id
