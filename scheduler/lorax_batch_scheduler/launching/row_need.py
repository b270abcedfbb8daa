"""Whether the rows of a job have room on a server: what they need, and what a server was started with."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from lorax_batch_scheduler.catalogue import BaseModel
from lorax_batch_scheduler.errors import InvalidInputError
from lorax_batch_scheduler.fleet import ServerStatus, Slot
from lorax_batch_scheduler.launching.adapter_memory import WORKING_SET, adapter_memory_fraction
from lorax_batch_scheduler.launching.custom_arguments import count_of, parse_arguments
from lorax_batch_scheduler.launching.data_shape import DataShape
from lorax_batch_scheduler.launching.derivation import quantization_of
from lorax_batch_scheduler.launching.token_limits import TokenLimits, longest_prompt, token_limits
from lorax_batch_scheduler.server_config import ServerConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class RowNeed:
    """The least limits of a server, in tokens, with which no row is refused that some slot could hold."""

    total: int
    """Of prompt and answer together."""
    input: int
    """Of the prompt."""
    memory_bytes: int = 0
    """Of the smallest slot where a server can have these limits; 0: any."""

    def fits(self, total: int | None, longest_input: int | None) -> bool:
        """Tell whether a server of these limits has room; None: unknown, and taken to be enough."""
        return (total is None or total >= self.total) and (longest_input is None or longest_input >= self.input)


def row_need(config: ServerConfig, model: BaseModel, slots: Iterable[Slot], data: DataShape) -> RowNeed | None:
    """Return what the rows of a job need, as far as the slots go on which servers can be started; None without any.

    Rows that are longer than the model's context, the largest slot or the caller's own arguments allow are refused on
    any server: they ask for no other.
    """
    startable = [slot for slot in slots if not slot.is_fixed]
    if not startable:
        return None
    # With as much memory for adapters as other jobs of the family may want: what is started then is no narrower.
    most = replace(data, adapters=max(data.adapters, WORKING_SET))
    limits = {slot.slot_id: _limits(config, model, slot, most) for slot in startable}
    prompt = longest_prompt(data)
    total = min(prompt + data.largest_max_tokens, max(each.total for each in limits.values()))
    longest = min(prompt, max(each.input for each in limits.values() if each.total >= total))
    enough = [slot for slot in startable if _reaches(limits[slot.slot_id], total, longest)]
    return RowNeed(total=total, input=longest, memory_bytes=min(slot.memory_bytes for slot in enough))


def limits_of(status: ServerStatus) -> tuple[int | None, int | None]:
    """Return how many tokens a row may have on a server, and its prompt; None: unknown."""
    if not status.slot.is_fixed:
        return started_limits(status.launch_arguments)
    limits = status.limits
    return (limits.max_total_tokens, limits.max_input_length) if limits is not None else (None, None)


def started_limits(arguments: Sequence[str]) -> tuple[int | None, int | None]:
    """Return the `--max-total-tokens` and the `--max-input-length` among the arguments of a launcher; None: not there.

    What a server was told counts, not what it reports: one whose command does not pass its arguments on would not be
    wider when it is started again.
    """
    try:
        parsed = parse_arguments(arguments)
        return count_of(parsed, "--max-total-tokens"), count_of(parsed, "--max-input-length")
    except (InvalidInputError, ValueError):
        return None, None


def _limits(config: ServerConfig, model: BaseModel, slot: Slot, data: DataShape) -> TokenLimits:
    custom, quantization = parse_arguments(config.custom_args), quantization_of(config)
    fraction = adapter_memory_fraction(model, quantization, slot, data, custom)
    return token_limits(model, quantization, slot, data, custom, adapter_memory=fraction)


def _reaches(limits: TokenLimits, total: int, longest_input: int) -> bool:
    return limits.total >= total and limits.input >= longest_input
