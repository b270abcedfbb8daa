"""What a kill cost: each repeated call belongs to one kill, and recovery is told only where nothing else struck."""

import signal
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from lorax_batch_client import Counts

from tests.faults.chaos.call import Call, find_repeats
from tests.faults.chaos.fault import Fault, FaultKind
from tests.faults.chaos.injector import Injected
from tests.faults.chaos.pulse import Pulse
from tests.faults.chaos.recovery import attribute
from tests.faults.chaos.replica import Death
from tests.faults.chaos.test_file_check import job


def call(key: str, began: float, ended: float, status: int) -> Call:
    return Call(key=key, server=0, began=began, ended=ended, status=status)


def death(moment: float, code: int = -signal.SIGKILL) -> Death:
    return Death(replica=0, began=0.0, moment=moment, code=code)


def injected(began: float, ended: float, kind: FaultKind = FaultKind.KILL_SERVICE) -> Injected:
    return Injected(fault=Fault(at_s=began, kind=kind), began=began, ended=ended, proof="seen")


def pulse(*moments: float) -> Pulse:
    told = Pulse()
    for number, moment in enumerate(moments, 1):
        counts = Counts(total=9, pending=9 - number, succeeded=number)
        told.note(replace(job(), counts=counts, update_time=datetime.fromtimestamp(moment, UTC)))
    return told


CALLS = [
    call("m#1", 9.0, 10.0, 0),  # in flight at the kill
    call("m#1", 12.0, 13.0, 200),
    call("m#2", 9.0, 9.9, 200),  # answered, but not committed
    call("m#2", 12.0, 13.5, 200),
    call("m#3", 9.0, 9.5, 200),
]


def test_a_kill_costs_what_was_in_flight_or_not_committed() -> None:
    """One row was in flight, one was answered and not committed; the third was not called again."""
    costs = attribute(CALLS, find_repeats(CALLS, {}), [death(10.0)], [injected(10.0, 10.1)], pulse(9.6, 13.2))
    (kill,) = costs.kills
    assert (kill.in_flight, kill.repeated) == (1, 2)
    assert kill.recovery_s == pytest.approx(3.2)
    assert kill.resend_s == pytest.approx(3.0)
    assert costs.unexplained == []


def test_a_row_that_was_answered_to_nobody_was_in_flight() -> None:
    """A server behind a proxy learns late that the service has died."""
    late = [call("m#1", 9.0, 10.2, 200), call("m#1", 12.0, 13.0, 200)]
    (kill,) = attribute(late, find_repeats(late, {}), [death(10.0)], [], pulse()).kills
    assert (kill.in_flight, kill.repeated) == (1, 1)


def test_a_repeat_belongs_to_the_nearest_kill() -> None:
    """Of two kills in a row, the one at which the call broke."""
    deaths = [death(9.4), death(10.0)]
    costs = attribute(CALLS[:2], find_repeats(CALLS[:2], {}), deaths, [], pulse())
    assert [kill.repeated for kill in costs.kills] == [0, 1]


def test_a_recovery_that_the_next_fault_cut_short_is_not_told() -> None:
    """It would count the time of another fault."""
    both = [injected(10.0, 10.1), injected(11.0, 11.1)]
    costs = attribute(CALLS, find_repeats(CALLS, {}), [death(10.0)], both, pulse(9.6, 13.2))
    assert costs.kills[0].recovery_s is None


def test_what_no_kill_explains_is_told_by_its_fault_or_as_unexplained() -> None:
    """A repeated call without any reason is not hidden."""
    repeats = find_repeats(CALLS[:4], {})
    frozen = injected(9.8, 11.0, FaultKind.FREEZE_POSTGRES)
    assert attribute(CALLS, repeats, [], [frozen], pulse()).by_other_faults == {"freeze-postgres": 2}
    assert len(attribute(CALLS, repeats, [], [], pulse()).unexplained) == 2


def test_a_service_that_ended_well_is_no_kill() -> None:
    """What SIGTERM makes rows repeat is told apart."""
    costs = attribute(CALLS, find_repeats(CALLS, {}), [death(10.0, code=0)], [], pulse())
    assert costs.kills == []
    assert costs.by_other_faults == {"stopped service": 2}
