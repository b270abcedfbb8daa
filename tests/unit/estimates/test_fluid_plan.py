"""Ends of jobs in fluid time."""

import math
import random
import time
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest
from lorax_batch_scheduler.estimates import AdmissionAnswer, Outlook, admit, etas, finish_times
from lorax_batch_scheduler.packing.cluster import (
    ClusterView,
    FamilyView,
    HostedServer,
    HostedState,
    JobView,
    SlotView,
)


def server(family: str, state: HostedState = HostedState.READY, ready_at: float = 0.0) -> HostedServer:
    return HostedServer(server_id=f"on-{family}", family_id=family, state=state, since=0.0, ready_at=ready_at)


def slot(slot_id: str, *servers: HostedServer, **fields: Any) -> SlotView:
    values: dict[str, Any] = {"slot_id": slot_id, "kind": "k", "memory_bytes": 80, "servers": servers}
    return SlotView(**(values | fields))


def job(job_id: str, work: float, family: str = "f", **fields: Any) -> JobView:
    values: dict[str, Any] = {"tenant": "t", "priority": 0, "arrival": 0.0, "work_s": {"k": work}}
    return JobView(**(values | {"job_id": job_id, "family_id": family} | fields))


def cluster(slots: list[SlotView], jobs: list[JobView], families: Iterable[str] = "fg", **fields: Any) -> ClusterView:
    views = tuple(FamilyView(family_id=each, need_bytes=40, setup_s={"k": 100.0}) for each in families)
    values: dict[str, Any] = {"now": 0.0, "slots": tuple(slots), "families": views, "jobs": tuple(jobs)}
    return ClusterView(**(values | fields))


def test_a_ready_server_works_at_once_and_a_cold_one_first_starts() -> None:
    assert finish_times(cluster([slot("s", server("f"))], [job("j", 50)])) == {"j": 50}
    assert finish_times(cluster([slot("s")], [job("j", 50)])) == {"j": 150}


def test_a_server_that_starts_joins_when_it_is_ready() -> None:
    slots = [slot("s1", server("f")), slot("s2", server("f", HostedState.STARTING, ready_at=40))]
    assert finish_times(cluster(slots, [job("j", 100)])) == {"j": pytest.approx(70)}


def test_jobs_of_a_family_end_one_after_another_as_the_fair_clock_says() -> None:
    view = cluster([slot("s", server("f"))], [job("long", 100), job("short", 10), job("first", 30, priority=1)])
    assert finish_times(view) == {"first": 30, "short": 40, "long": 140}


def test_families_take_turns_on_a_slot() -> None:
    view = cluster([slot("s", server("f"))], [job("one", 50), job("two", 10, family="g")])
    assert finish_times(view) == {"one": 50, "two": 50 + 100 + 10}


def test_a_family_with_more_than_its_part_gives_a_slot_to_one_without() -> None:
    slots = [slot("s1", server("f")), slot("s2", server("f"))]
    ends = finish_times(cluster(slots, [job("one", 1000), job("two", 1000, family="g")]))
    assert ends["two"] < 1200
    assert ends["one"] <= 1100


def test_what_no_slot_can_host_never_ends() -> None:
    jobs = [job("j", 10), job("k", 10, family="g")]
    assert finish_times(cluster([slot("s", memory_bytes=10)], jobs)) == {"j": math.inf, "k": math.inf}
    fixed = finish_times(cluster([slot("s", server("f"), fixed=True)], jobs))
    assert fixed == {"j": 10, "k": math.inf}


def test_a_failed_start_is_waited_for() -> None:
    view = cluster([slot("s")], [job("j", 10)], families="f")
    family = FamilyView(family_id="f", need_bytes=1, setup_s={"k": 100.0}, held_until={"k": 60.0})
    assert finish_times(replace(view, families=(family,))) == {"j": 170}


def test_a_slow_server_takes_longer_and_a_short_job_as_long_as_its_last_row() -> None:
    view = cluster([slot("s", server("f"))], [job("j", 50)])
    assert finish_times(view, Outlook(speeds={"on-f": 0.5})) == {"j": 100}
    assert finish_times(view, Outlook(tails_s={"j": 80})) == {"j": 90}


def test_no_work_is_lost_or_done_twice_whatever_the_cluster() -> None:
    for seed in range(30):
        chance = random.Random(seed)
        families = "abcdef"[: chance.randrange(1, 7)]
        slots = [
            slot(f"s{n}", *([server(chance.choice(families))] if chance.random() < 0.5 else []))
            for n in range(chance.randrange(1, 9))
        ]
        jobs = [
            job(f"j{n}", chance.lognormvariate(4, 1), family=chance.choice(families), tenant=chance.choice("xy"))
            for n in range(chance.randrange(1, 40))
        ]
        ends = finish_times(cluster(slots, jobs, families))
        assert all(math.isfinite(end) for end in ends.values())
        for moment in ends.values():
            done = sum(each.work_s["k"] for each in jobs if ends[each.job_id] <= moment)
            assert done <= len(slots) * moment * (1 + 1e-9)
        assert ends == finish_times(cluster(slots, list(reversed(jobs)), families))


def test_the_band_lies_around_the_end_and_is_wider_for_what_is_less_sure() -> None:
    view = cluster([slot("s", server("f")), slot("t", server("g"))], [job("j", 100), job("k", 100, family="g")])
    told = etas(view, Outlook(log_sigmas={"j": 0.1, "k": 1.0}), fractions={})
    assert told["j"].early < told["j"].expected < told["j"].late
    assert told["k"].early < told["j"].early
    assert told["k"].late > told["j"].late


ONE_SLOT = cluster([slot("s", server("f"))], [job("other", 500)])


@pytest.mark.parametrize(
    ("deadline", "answer"),
    [
        (1_000.0, AdmissionAnswer.FEASIBLE),
        (120.0, AdmissionAnswer.AT_RISK),
        (90.0, AdmissionAnswer.AT_RISK),
        (20.0, AdmissionAnswer.INFEASIBLE),
    ],
)
def test_a_deadline_is_judged_by_the_band_of_the_end(deadline: float, answer: AdmissionAnswer) -> None:
    told = admit(ONE_SLOT, job("new", 100, deadline=deadline), Outlook(log_sigmas={"new": 0.3}))
    assert told.answer is answer
    assert told.earliest_finish == 100


def test_a_job_that_would_make_another_late_is_at_risk() -> None:
    view = replace(ONE_SLOT, jobs=(job("other", 500, deadline=550.0),))
    told = admit(view, job("new", 100, deadline=500.0))
    assert told.answer is AdmissionAnswer.AT_RISK
    assert "other" in told.reason


def test_without_a_deadline_the_expected_end_is_told() -> None:
    told = admit(ONE_SLOT, job("new", 600))
    assert (told.answer, told.earliest_finish) == (AdmissionAnswer.FEASIBLE, 1100)


def test_what_nothing_can_run_is_infeasible_without_an_end() -> None:
    told = admit(cluster([slot("s", memory_bytes=10)], []), job("new", 1, deadline=1e9))
    assert (told.answer, told.earliest_finish) == (AdmissionAnswer.INFEASIBLE, None)
    assert "no slot can host" in told.reason


def test_admission_to_1000_jobs_and_100_slots_is_quick() -> None:
    chance = random.Random(1)
    names = [f"f{n}" for n in range(50)]
    slots = [slot(f"s{n}", *([server(names[n % 50])] if n % 3 else [])) for n in range(100)]
    jobs = [
        job(f"j{n}", chance.lognormvariate(6, 1), family=chance.choice(names), deadline=chance.choice([None, 5e4]))
        for n in range(1000)
    ]
    view = cluster(slots, jobs, families=names)
    took = []
    for _ in range(3):
        began = time.process_time()
        admit(view, job("new", 500, family="f0", deadline=3000.0))
        took.append(time.process_time() - began)
    assert min(took) < 0.15  # 25 ms when the machine had little else to do
