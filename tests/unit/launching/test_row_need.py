"""What limits the rows of a job need, and what a server was started with."""

import pytest
from lorax_batch_scheduler.fleet import Slot
from lorax_batch_scheduler.launching.data_shape import DataShape
from lorax_batch_scheduler.launching.derivation import derive_launch
from lorax_batch_scheduler.launching.row_need import RowNeed, row_need, started_limits
from lorax_batch_scheduler.server_config import ServerConfig

from tests.unit.launching.examples import GIB, MISTRAL


def slot(slot_id: str, gib: int, kind: str = "command") -> Slot:
    return Slot(slot_id=slot_id, kind=kind, memory_bytes=gib * GIB)


def need_of(data: DataShape, *slots: Slot, custom: tuple[str, ...] = ()) -> RowNeed | None:
    return row_need(ServerConfig(base_model=MISTRAL.name, custom_args=[*custom]), MISTRAL, slots, data)


def test_rows_need_their_prompt_and_their_answer() -> None:
    counted = DataShape(longest_prompt_tokens=1_000, largest_max_tokens=500, prompts_are_counted=True)
    assert need_of(counted, slot("a", 80)) == RowNeed(total=1_756, input=1_256, memory_bytes=80 * GIB)
    estimated = DataShape(longest_prompt_tokens=1_000, largest_max_tokens=500)
    assert need_of(estimated, slot("a", 80)) == RowNeed(total=2_756, input=2_256, memory_bytes=80 * GIB)


def test_rows_that_no_model_holds_ask_for_its_context_only() -> None:
    need = need_of(DataShape(longest_prompt_tokens=100_000, largest_max_tokens=500), slot("a", 80))
    assert need == RowNeed(total=32_768, input=32_767, memory_bytes=80 * GIB)


def test_rows_that_a_small_slot_can_not_hold_ask_for_a_larger_one() -> None:
    data = DataShape(longest_prompt_tokens=10_000, largest_max_tokens=1_000)
    need = need_of(data, slot("small", 22), slot("large", 80), slot("larger", 141))
    assert need == RowNeed(total=21_256, input=20_256, memory_bytes=80 * GIB)
    alone = need_of(data, slot("small", 22))
    assert alone is not None
    assert 4_096 <= alone.total < 21_256, "what the largest slot holds is enough where there is no larger one"


def test_the_callers_own_limit_is_enough() -> None:
    need = need_of(DataShape(longest_prompt_tokens=10_000), slot("a", 80), custom=("--max-total-tokens", "1000"))
    assert need is not None
    assert (need.total, need.input) == (1_000, 999)


def test_fixed_slots_ask_for_nothing() -> None:
    assert need_of(DataShape(longest_prompt_tokens=10_000), slot("url", 0, "static")) is None


@pytest.mark.parametrize("prompt", [10, 900, 1_900, 3_000, 9_000, 60_000])
def test_a_server_started_for_rows_has_room_for_them(prompt: int) -> None:
    data = DataShape(longest_prompt_tokens=prompt, largest_max_tokens=200)
    where = slot("a", 80)
    config = ServerConfig(base_model=MISTRAL.name)
    launch = derive_launch(config, MISTRAL, where, data, default_tag="main", hf_token=None)
    need = row_need(config, MISTRAL, [where], data)
    assert need is not None
    assert need.fits(*started_limits(launch.arguments))


def test_limits_that_nobody_wrote_down_are_enough() -> None:
    assert started_limits([]) == (None, None)
    assert started_limits(["not a flag"]) == (None, None)
    need = RowNeed(total=5_000, input=4_000)
    assert need.fits(None, None)
    assert need.fits(5_000, 4_000)
    assert not need.fits(4_096, 4_095)
    assert not need.fits(8_192, 3_999)
