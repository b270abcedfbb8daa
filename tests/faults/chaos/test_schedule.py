"""The schedule: the same for the same seed, and of faults that end."""

import itertools
from collections import Counter

import pytest

from tests.faults.chaos.fault import KILLS, FaultKind, Topology
from tests.faults.chaos.schedule import LONGEST_S, make_schedule

MOMENTS = ["run.after_commit", "finalise.before_part", "upload.after_begin", "create.before_store", "cancel.after_move"]


@pytest.mark.parametrize("topology", list(Topology))
def test_a_seed_always_makes_the_same_schedule(topology: Topology) -> None:
    """A failing seed replays: nothing but the seed, the length and the names decides."""
    assert make_schedule(7, 300, topology, MOMENTS) == make_schedule(7, 300, topology, MOMENTS[::-1])
    assert make_schedule(7, 300, topology, MOMENTS) != make_schedule(8, 300, topology, MOMENTS)


def test_a_new_failpoint_changes_only_what_is_armed() -> None:
    """The faults that a seed was chosen for stay while the service gets more named moments."""
    before = make_schedule(7, 300, Topology.SHARED, MOMENTS)
    after = make_schedule(7, 300, Topology.SHARED, [*MOMENTS, "run.before_something_new"])
    assert [(fault.at_s, fault.kind) for fault in before] == [(fault.at_s, fault.kind) for fault in after]


@pytest.mark.parametrize("topology", list(Topology))
def test_faults_come_in_order_one_at_a_time_and_end(topology: Topology) -> None:
    """No fault begins before the one before is over, and none lasts for ever."""
    faults = make_schedule(7, 1_800, topology, MOMENTS)
    for before, after in itertools.pairwise(faults):
        assert before.at_s + before.lasts_s < after.at_s
    assert max(fault.lasts_s for fault in faults) <= LONGEST_S


@pytest.mark.parametrize("topology", list(Topology))
def test_every_kind_comes_and_kills_are_the_most(topology: Topology) -> None:
    """A long run has every fault its topology can have, and a kill about every three seconds."""
    faults = make_schedule(7, 1_800, topology, MOMENTS)
    kinds = Counter(fault.kind for fault in faults)
    shared_only = {FaultKind.LINK_FAULT, FaultKind.STORE_ERRORS}
    expected = set(FaultKind) - (shared_only if topology is Topology.EMBEDDED else set())
    assert set(kinds) == expected
    assert sum(kinds[kind] for kind in KILLS) > 1_800 / (3 if topology is Topology.EMBEDDED else 4.5)
