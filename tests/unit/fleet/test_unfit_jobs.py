"""Whether a job that fits on no slot here may fit at another scheduler."""

import pytest
from lorax_batch_scheduler.fleet import Slot
from lorax_batch_scheduler.scheduling.unfit_jobs import may_host_more

GIB = 1 << 30


def slot(slot_id: str, *, gib: int = 24, kind: str = "a10g-24", url: str = "") -> Slot:
    return Slot(slot_id=slot_id, kind="static" if url else "command", gpu_kind=kind, memory_bytes=gib * GIB, url=url)


OURS = [slot("a"), slot("b", gib=12)]


@pytest.mark.parametrize(
    ("other", "may"),
    [
        (slot("c"), False),
        (slot("c", gib=12), False),
        (slot("c", gib=25), True),
        (slot("c", gib=0), True),  # of unknown memory
        (slot("c", gib=16, kind="t4-16"), True),
        (slot("c", gib=0, url="http://10.0.0.7"), True),
        (slot("a", gib=80), False),  # the same slot, as another process was told
    ],
)
def test_only_what_is_larger_or_another_may_host_what_ours_can_not(other: Slot, may: bool) -> None:
    assert may_host_more(OURS, [*OURS, other]) is may


def test_nobody_else_has_nothing_more() -> None:
    assert not may_host_more(OURS, OURS)
