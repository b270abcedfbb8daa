"""Servers whose limits are too narrow for a job: how the planner comes to replace them."""

from dataclasses import replace

from lorax_batch_scheduler.packing import ClusterView, DrainServer, ExplainJob, HostedState, ServeJobs, StartServer
from lorax_batch_scheduler.scheduling.row_room import LONGER, JobRoom, plan_with_room, with_longer_rows

from tests.unit.test_placing import GIB, NOW, family, job, server, slot

NARROW = JobRoom(too_narrow=frozenset({"m-server"}), memory_bytes=80 * GIB)


def view_of(*slots, jobs, families=("m",)) -> ClusterView:
    return ClusterView(now=NOW, slots=slots, families=tuple(family(each) for each in families), jobs=tuple(jobs))


def test_a_free_slot_gets_a_wider_server_beside_the_narrow_one() -> None:
    view = view_of(slot("a", server("m")), slot("b"), jobs=[job("short"), job("long")])
    actions = plan_with_room(view, {"long": NARROW})
    assert [(one.slot_id, one.family_id) for one in actions if isinstance(one, StartServer)] == [("b", "m")]
    assert not any(isinstance(one, DrainServer) for one in actions)
    served = {job_id for one in actions if isinstance(one, ServeJobs) for job_id in one.job_ids}
    assert served == {"short", "long"}


def test_an_idle_narrow_server_makes_room_for_a_wider_one() -> None:
    view = view_of(slot("a", server("m", idle=1)), jobs=[job("long")])
    actions = plan_with_room(view, {"long": NARROW})
    assert [one.server_id for one in actions if isinstance(one, DrainServer)] == ["m-server"]
    (told,) = [one for one in actions if isinstance(one, ExplainJob)]
    assert f"m{LONGER}" in told.reason


def test_a_job_with_room_on_any_server_of_its_family_asks_for_no_other() -> None:
    wide = replace(server("m"), server_id="wide")
    view = view_of(slot("a", server("m")), slot("b", wide), slot("c"), jobs=[job("long")])
    assert with_longer_rows(view, {"long": NARROW}) == view


def test_a_narrow_server_that_leaves_is_none() -> None:
    view = view_of(slot("a", server("m", state=HostedState.DRAINING)), jobs=[job("long")])
    seen = with_longer_rows(view, {"long": NARROW})
    assert [one.family_id for one in seen.jobs] == ["m"]
    assert [one.need_bytes for one in seen.families] == [80 * GIB]


def test_the_first_server_of_a_family_goes_where_its_rows_have_room() -> None:
    view = view_of(slot("small", gib=24), slot("large", gib=80), jobs=[job("long")])
    (start,) = [one for one in plan_with_room(view, {"long": NARROW}) if isinstance(one, StartServer)]
    assert (start.slot_id, start.family_id) == ("large", "m")


def test_jobs_that_need_nothing_are_planned_as_ever() -> None:
    view = view_of(slot("a", server("m")), slot("b"), jobs=[job("short")])
    assert with_longer_rows(view, {}) == view
