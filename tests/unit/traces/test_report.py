"""What replays are reported as."""

import json

import pytest
from lorax_batch_scheduler.errors import InvalidInputError
from lorax_batch_scheduler.replay import POLICIES, Trace, compare_policies, parse_trace, replay_trace
from lorax_batch_scheduler.replay.report import report_fields

from tests.unit.traces.small_trace import encoded, small_tree


@pytest.fixture
def trace() -> Trace:
    return parse_trace(encoded(small_tree()))


def test_the_services_own_planner_is_the_default(trace: Trace) -> None:
    run = replay_trace(trace)
    assert run.policy == "setup_aware_fair"
    assert [job.left_rows for job in run.outcome.jobs] == [0, 0]
    assert not run.missed


def test_a_year_without_slots_is_not_planned_every_half_minute() -> None:
    tree = small_tree()
    tree["failures"] = [{"slot": slot, "time_s": 0, "duration_s": 31_536_000} for slot in ("s0", "s1")]
    run = replay_trace(parse_trace(encoded(tree)))
    assert [job.left_rows for job in run.outcome.jobs] == [0, 0]
    assert run.outcome.plans < 10_000


def test_every_policy_is_reported_once_and_in_the_order_that_was_asked(trace: Trace) -> None:
    names = [*reversed(POLICIES), "ffd"]
    assert [run.policy for run in compare_policies(trace, names).runs] == list(reversed(POLICIES))


def test_a_policy_that_is_not_there_is_named_with_one_like_it(trace: Trace) -> None:
    with pytest.raises(InvalidInputError, match="'fifo_shared' is no policy; did you mean 'fifo_share'"):
        replay_trace(trace, "fifo_shared")


def test_jobs_behind_their_deadline_are_reported() -> None:
    tree = small_tree()
    tree["jobs"][0]["deadline_s"] = 30  # sooner than any server starts
    report = compare_policies(parse_trace(encoded(tree)), ["setup_aware_fair"])
    assert [job.trace.id for job in report.runs[0].missed] == ["j0"]
    jobs = report_fields(report)["policies"][0]["jobs"]
    assert [job["missed"] for job in jobs] == [True, False]


def test_the_same_trace_gives_the_same_report(trace: Trace) -> None:
    first, second = (report_fields(compare_policies(trace, ["setup_aware_fair"])) for _ in range(2))
    for fields in (first, second):
        del fields["policies"][0]["measures"]["plan_ms"]
    assert first == second


def test_a_report_is_json_with_servers_and_jobs(trace: Trace) -> None:
    fields = json.loads(json.dumps(report_fields(compare_policies(trace, ["fifo_share"])), allow_nan=False))
    assert fields["trace"] == {"name": "small", "version": 1, "slots": 2, "families": 2, "jobs": 2, "rows": 70}
    run = fields["policies"][0]
    assert run["measures"]["makespan_s"] == max(job["finish_s"] for job in run["jobs"])
    assert run["measures"]["cold_starts"] == len(run["servers"])
    assert all(server["start_s"] <= server["end_s"] for server in run["servers"])
