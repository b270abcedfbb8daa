"""The picture of a fleet: what is shown when there is too little room for all."""

from lorax_batch.v1 import fleet_pb2 as pb
from lorax_batch_client import FleetSnapshot, Queue, Slot
from lorax_batch_server.cli.fleet_frame import frame
from rich.console import Console


def drawn(slots: int, queues: int, height: int) -> list[str]:
    fleet = FleetSnapshot(
        slots=tuple(Slot.from_proto(pb.Slot(slot_id=f"slot_{number:03}")) for number in range(slots)),
        queues=tuple(
            Queue(base_model_id=f"model-{number}", jobs_queued=1, jobs_running=0, rows_left=1, tokens_left=1)
            for number in range(queues)
        ),
    )
    console = Console(width=120, height=height)
    with console.capture() as capture:
        console.print(frame(fleet, height=height))
    return capture.get().splitlines()


def test_slots_leave_room_for_queues() -> None:
    lines = drawn(slots=200, queues=3, height=24)
    assert len(lines) == 24
    assert lines[-3].startswith("model-0")
    assert "and 185 more" in lines


def test_a_picture_that_fits_is_shown_whole() -> None:
    lines = drawn(slots=4, queues=1, height=24)
    assert sum(line.startswith("slot_") for line in lines) == 4
    assert not any("more" in line for line in lines)


def test_a_few_slots_are_always_shown() -> None:
    assert sum(line.startswith("slot_") for line in drawn(slots=50, queues=40, height=10)) == 3


def test_trouble_stands_in_the_place_of_the_totals() -> None:
    console = Console(width=120)
    with console.capture() as capture:
        console.print(frame(FleetSnapshot(), trouble="localhost:1 does not answer"))
    assert capture.get().startswith("localhost:1 does not answer")
