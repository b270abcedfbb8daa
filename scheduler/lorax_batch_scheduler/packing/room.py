"""Which servers fit on a slot, alone and beside others."""

from collections.abc import Sequence

from lorax_batch_scheduler.packing.cluster import FamilyView, SlotView


def can_host(slot: SlotView, family: FamilyView) -> bool:
    """Tell whether a server of the family works on the slot when it has it for itself."""
    return slot.kind in family.setup_s and slot.memory_bytes >= family.need_bytes


def free_bytes(slot: SlotView) -> int:
    """Return the memory that no server of the slot has."""
    return slot.memory_bytes - sum(server.memory_bytes or slot.memory_bytes for server in slot.servers)


def part_for(families: Sequence[FamilyView], memory_bytes: int) -> dict[str, int]:
    """Return each family's part of a slot's memory: what it needs and an even part of the rest."""
    rest = memory_bytes - sum(family.need_bytes for family in families)
    return {family.family_id: family.need_bytes + rest // len(families) for family in families}
