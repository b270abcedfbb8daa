"""Whether slots fit on the GPUs that they share."""

from collections.abc import Iterable

from lorax_batch_scheduler.errors import ConfigurationError
from lorax_batch_scheduler.server_hosts.command import CommandSlot

_ROUNDING = 1e-6
"""Three shares of 0.3333334 are a whole."""


def check_shares(slots: Iterable[CommandSlot], where: str) -> None:
    """Check a slot, the last one, against those before it on its GPUs. Raises `ConfigurationError`."""
    *others, slot = slots
    for gpu in slot.gpus:
        sharing = [other for other in others if gpu in other.gpus]
        total = slot.share + sum(other.share for other in sharing)
        if total > 1 + _ROUNDING:
            names = ", ".join(f"'{other.slot_id}' ({other.share:g})" for other in sharing)
            raise ConfigurationError(
                f"{where}: share = {slot.share:g}: GPU {gpu} is shared with {names}, which makes {total:g} of it: give "
                "each a share (or memory_gib and gpu_memory_gib) so that all together are at most 1"
            )
        for other in sharing:
            _check_same_memory(slot, other, gpu, where)


def _check_same_memory(slot: CommandSlot, other: CommandSlot, gpu: str, where: str) -> None:
    one, another = slot.gpu_memory_gib, other.gpu_memory_gib
    if one and another and abs(one - another) > 0.01 * max(one, another):
        raise ConfigurationError(
            f"{where}: gpu_memory_gib: GPU {gpu} would have {one:g} GiB here, but {another:g} GiB by slot "
            f"'{other.slot_id}': correct memory_gib, share or gpu_memory_gib of one of them"
        )
