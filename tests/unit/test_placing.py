"""The placing of servers: each rule of the policy on a cluster of a few slots."""

from dataclasses import replace

import pytest
from lorax_batch_scheduler.packing import (
    ClusterView,
    DrainServer,
    ExplainJob,
    FamilyView,
    HostedServer,
    HostedState,
    JobView,
    ServeJobs,
    SlotView,
    StartServer,
    plan,
)

GIB = 1 << 30
NOW = 10_000.0


def slot(slot_id: str, *servers: HostedServer, kind: str = "a100", gib: int = 80, unusable: str = "") -> SlotView:
    return SlotView(slot_id=slot_id, kind=kind, memory_bytes=gib * GIB, servers=servers, unusable=unusable)


def server(family: str, *, state: HostedState = HostedState.READY, age: float = 5000, idle: float | None = None):
    since = NOW - age
    idle_since = None if idle is None else NOW - idle
    return HostedServer(
        server_id=f"{family}-server", family_id=family, state=state, since=since, ready_at=since, idle_since=idle_since
    )


def family(family_id: str, *, gib: int = 20, setup: float = 100, held: dict[str, float] | None = None) -> FamilyView:
    return FamilyView(
        family_id=family_id, need_bytes=gib * GIB, setup_s={"a100": setup, "h100": setup}, held_until=held or {}
    )


def job(
    job_id: str,
    family_id: str = "m",
    work: float = 1000,
    *,
    tenant: str = "t",
    priority: int = 0,
    deadline: float | None = None,
) -> JobView:
    return JobView(
        job_id=job_id,
        family_id=family_id,
        tenant=tenant,
        priority=priority,
        arrival=NOW,
        work_s={"a100": work, "h100": work / 2},
        deadline=deadline,
    )


def view(slots, families, jobs, **fields) -> ClusterView:
    return ClusterView(now=NOW, slots=tuple(slots), families=tuple(families), jobs=tuple(jobs), **fields)


def starts(actions) -> list[tuple[str, str]]:
    return [(each.slot_id, each.family_id) for each in actions if isinstance(each, StartServer)]


def drains(actions) -> list[str]:
    return [each.server_id for each in actions if isinstance(each, DrainServer)]


def order(actions, family_id: str = "m") -> tuple[str, ...]:
    return next(each.job_ids for each in actions if isinstance(each, ServeJobs) and each.family_id == family_id)


def why(actions, job_id: str) -> str:
    return next(each.reason for each in actions if isinstance(each, ExplainJob) and each.job_id == job_id)


def test_a_family_starts_on_the_first_idle_slot_and_its_job_says_so():
    actions = plan(view([slot("s2"), slot("s1")], [family("m")], [job("j", work=100)]))
    assert starts(actions) == [("s1", "m")]
    assert why(actions, "j") == "a server of m is being started on s1: about 100 s"


def test_a_large_job_is_split_over_slots_and_a_small_one_is_not():
    slots = [slot(f"s{n}") for n in range(4)]
    assert len(starts(plan(view(slots, [family("m")], [job("j", work=10_000)])))) == 4
    assert len(starts(plan(view(slots, [family("m")], [job("j", work=200)])))) == 1


def test_a_job_of_a_ready_family_needs_no_explanation():
    actions = plan(view([slot("s", server("m"))], [family("m")], [job("j")]))
    assert [each for each in actions if isinstance(each, ExplainJob)] == []


def test_a_busy_slot_is_switched_only_for_a_claim_that_is_much_stronger_and_when_its_start_has_paid_back():
    families = [family("m"), family("n")]
    jobs = [job("long", work=5000), job("short", "n", work=1500, tenant="u")]
    weak = [job("long", work=500), job("other", "n", work=5000, tenant="u")]
    urgent = [job("long", work=50_000), job("short", "n", work=1500, tenant="u")]
    old, young = [slot("s", server("m"))], [slot("s", server("m", age=50))]
    assert drains(plan(view(old, families, weak))) == []
    assert drains(plan(view(old, families, urgent))) == ["m-server"]
    assert drains(plan(view(young, families, urgent))) == []
    assert drains(plan(view(old, families, urgent, switching_budget_s=10))) == []
    drained = slot("t", unusable="drained")
    held = [family("m"), family("n", held={"h100": NOW + 40})]
    told = why(plan(view([*old, drained, slot("u", kind="h100")], held, jobs[:1] + weak[1:])), "other")
    assert told == (
        "no slot is free: s serves more urgent families (m); failed to start on h100: the next try is in 40 s; "
        "not usable now: t (drained)"
    )


def test_a_family_with_many_slots_gives_one_up_although_its_first_job_is_as_urgent():
    held = [slot(f"s{n}", replace(server("m"), server_id=f"m{n}")) for n in range(6)]
    jobs = [job("tiny", work=5), job("long", work=50_000), job("other", "n", work=400, tenant="u")]
    overdue = [replace(each, virtual_finish=NOW - 60) if each.job_id != "long" else each for each in jobs]
    assert len(drains(plan(view(held, [family("m"), family("n")], overdue)))) == 1


def test_the_most_urgent_family_has_the_fastest_slot_and_a_slow_one_counts_for_less():
    gpus = [slot("s1"), slot("s2", kind="h100")]
    families = [family("m"), family("n")]
    jobs = [job("long", work=5000), job("short", "n", work=200)]
    assert set(starts(plan(view(gpus, families, jobs)))) == {("s2", "n"), ("s1", "m")}
    speeds = {"a100": 10_000.0, "h100": 1000.0}
    slow = slot("s1", server("m"))
    unlike = replace(job("j"), work_s=speeds)
    assert starts(plan(view([slow, slot("s2", kind="h100")], families, [unlike]))) == [("s2", "m")]


def test_an_idle_server_gives_way_at_once_and_is_released_when_nobody_wants_its_slot():
    families = [family("m"), family("n")]
    assert drains(plan(view([slot("s", server("m", idle=5))], families, [job("j", "n")]))) == ["m-server"]
    assert drains(plan(view([slot("s", server("m", idle=5))], families, []))) == []
    (gone,) = plan(view([slot("s", server("m", idle=101))], families, []))
    assert isinstance(gone, DrainServer)
    assert gone.reason == "nothing to do for 101 s"


def test_a_near_deadline_goes_first_and_takes_slots():
    jobs = [job("small", work=15), job("dated", work=500, deadline=NOW + 700)]
    assert order(plan(view([slot("s", server("m"))], [family("m")], jobs))) == ("dated", "small")
    late = [jobs[0], replace(jobs[1], deadline=NOW + 200)]
    assert order(plan(view([slot("s", server("m"))], [family("m")], late))) == ("small", "dated")


def test_a_near_deadline_lets_jobs_pass_that_leave_it_nine_tenths_of_its_laxity():
    small = [job(f"small{n}", work=6) for n in range(3)]
    jobs = [*small, job("dated", work=500, deadline=NOW + 700)]  # 100 s are spared: the work may be a fifth larger
    placed = order(plan(view([slot("s", server("m"))], [family("m")], jobs)))
    assert placed == ("small0", "dated", "small1", "small2")
    puts_off_another = [*jobs, job("next", work=80, deadline=NOW + 730)]  # the second would have 34 s to spare
    assert order(plan(view([slot("s", server("m"))], [family("m")], puts_off_another)))[:2] == ("dated", "next")


def test_tenants_share_by_weight_and_equal_jobs_go_by_id():
    slots, jobs = [slot("s", server("m"))], [job("a", tenant="a"), job("b", tenant="b")]
    assert order(plan(view(slots, [family("m")], jobs))) == ("a", "b")
    assert order(plan(view(slots, [family("m")], jobs, weights={"b": 3.0}))) == ("b", "a")


def test_a_flood_of_one_tenant_does_not_hold_up_another():
    flood = [job(f"flood{n}", tenant="flood") for n in range(20)]
    placed = order(plan(view([slot("s", server("m"))], [family("m")], [*flood, job("z", tenant="quiet")])))
    assert placed.index("z") <= 1


def test_late_jobs_of_one_tenant_do_not_hold_up_another_and_go_before_its_own():
    late = [replace(job(f"late{n}", tenant="flood"), virtual_finish=NOW - 60) for n in range(20)]
    jobs = [*late, job("tiny", work=1, tenant="flood"), job("z", tenant="quiet")]
    placed = order(plan(view([slot("s", server("m"))], [family("m")], jobs)))
    assert placed.index("z") <= 1
    assert placed[-1] == "tiny"


def test_a_job_that_has_waited_long_goes_before_younger_ones_of_higher_priority():
    jobs = [replace(job("old", work=5000), arrival=NOW - 7200), job("young", work=10, priority=1)]
    assert order(plan(view([slot("s", server("m"))], [family("m")], jobs))) == ("young", "old")
    jobs[0] = replace(jobs[0], arrival=NOW - 14400)
    view_now = view([slot("s", server("m"))], [family("m")], jobs)
    assert order(plan(replace(view_now, now=NOW + 1))) == ("old", "young")


def test_higher_priority_goes_first_within_a_tenant():
    jobs = [job("a", work=10), job("b", work=5000, priority=5)]
    assert order(plan(view([slot("s", server("m"))], [family("m")], jobs))) == ("b", "a")


@pytest.mark.parametrize(
    ("slots", "wanted", "reason"),
    [
        (
            [slot("s", gib=16)],
            family("m"),
            (
                "a server of m needs 20.0 GiB; the largest slot, s, has 16.0 GiB: "
                "ask for a quantization or a smaller model, or give the fleet a larger slot"
            ),
        ),
        ([slot("s", unusable="drained")], family("m"), "no slot that fits a server of m can be used now: s (drained)"),
        (
            [slot("s")],
            family("m", held={"a100": NOW + 40}),
            "servers of m failed to start on a100: the next try is in 40 s",
        ),
        (
            [slot("s"), slot("t", unusable="drained")],
            replace(family("m", held={"a100": NOW + 40}), held_because={"a100": "ended; the next try is at 12:00:40"}),
            "servers of m failed to start on a100: ended; the next try is at 12:00:40; not usable now: t (drained)",
        ),
        (
            [slot("s", kind="t4")],
            family("m"),
            "no slot is of a GPU kind that a server of m runs on; the slots are of t4",
        ),
        ([], family("m"), "no server of m is ready, and there is no slot to start one on"),
    ],
)  # fmt: skip
def test_nothing_is_started_where_it_can_not_run_and_the_job_says_why(slots, wanted, reason):
    actions = plan(view(slots, [wanted], [job("j")]))
    assert starts(actions) == []
    assert drains(actions) == []
    assert why(actions, "j") == reason


@pytest.mark.parametrize(
    ("slots", "wanted", "never"),
    [
        ([slot("s", gib=16)], family("m"), True),
        ([slot("s", kind="t4")], family("m"), True),
        ([slot("s", gib=16), slot("t", unusable="drained")], family("m"), False),
        ([slot("s")], family("m", held={"a100": NOW + 40}), False),
    ],
)
def test_a_job_that_could_never_run_is_told_from_one_that_waits(slots, wanted, never):
    (told,) = [each for each in plan(view(slots, [wanted], [job("j")])) if isinstance(each, ExplainJob)]
    assert told.never is never


def test_a_held_family_does_not_hold_back_others():
    families = [family("m", held={"a100": NOW + 40}), family("n")]
    assert starts(plan(view([slot("s")], families, [job("a"), job("b", "n")]))) == [("s", "n")]


def test_with_more_families_than_slots_small_ones_share_a_slot_where_memory_allows_it():
    jobs = [job("a", work=5000), job("b", "n", work=5000)]
    shared = plan(view([slot("s")], [family("m"), family("n")], jobs))
    parts = [each.memory_bytes for each in shared if isinstance(each, StartServer)]
    assert parts == [40 * GIB, 40 * GIB]
    assert len(starts(plan(view([slot("s", gib=30)], [family("m"), family("n")], jobs)))) == 1


def test_a_tenant_has_no_more_slots_than_its_cap_over_all_its_families():
    slots, families = [slot(f"s{n}") for n in range(4)], [family("m"), family("n")]
    jobs = [job("a", work=20_000), job("b", "n", work=30_000)]
    assert len(starts(plan(view(slots, families, jobs)))) == 4
    capped = plan(view(slots, families, jobs, caps={"t": 1}))
    assert len(starts(capped)) == 1
    (waiting,) = {"a", "b"} - {
        each.job_id for each in capped if isinstance(each, ExplainJob) and "start" in each.reason
    }
    assert why(capped, waiting) == "no slot is left for it: t may have 1 at a time, and more urgent jobs have them"
    assert starts(plan(view(slots, families, jobs, caps={"t": 0}))) == []


def test_a_cap_holds_back_no_other_tenant_and_a_lower_one_takes_servers_away():
    slots, jobs = [slot(f"s{n}") for n in range(4)], [job("a", work=20_000), job("b", work=20_000, tenant="u")]
    assert len(starts(plan(view(slots, [family("m")], jobs, caps={"t": 1})))) == 4
    busy = [slot("s1", server("m", age=100)), slot("s2", replace(server("m", age=900), server_id="old"))]
    lowered = plan(view(busy, [family("m")], jobs[:1], caps={"t": 1}))
    (drain,) = (each for each in lowered if isinstance(each, DrainServer))
    assert (drain.server_id, drain.reason) == ("m-server", "the tenants of m may have 1 slots")


def test_servers_are_kept_full_only_while_much_waits():
    rows = replace(family("m"), full_row_s=40.0)
    server_slot = [slot("s", server("m"))]

    def window(*jobs: JobView) -> float:
        return next(each.window for each in plan(view(server_slot, [rows], jobs)) if isinstance(each, ServeJobs))

    assert window(job("j", work=20)) == 0.25
    assert 0.25 < window(job("j", work=500)) < 1.0
    assert window(job("j", work=5000)) == 1.0
    assert window(job("j", work=5000), job("tiny", work=5)) < 1.0


def test_a_slot_that_is_drained_is_given_to_one_family_and_explained():
    ending = slot("s", server("n", state=HostedState.DRAINING))
    actions = plan(view([ending], [family("m"), family("n")], [job("j")]))
    assert starts(actions) == []
    assert why(actions, "j") == "slot s is being freed for a server of m"


def test_without_a_slot_a_job_with_a_deadline_is_told_why_it_waits():
    actions = plan(view([], [family("m")], [job("j", deadline=NOW + 5000)]))
    assert [each.never for each in actions if isinstance(each, ExplainJob)] == [True]


def test_equal_views_give_equal_plans_whatever_the_order():
    slots = [slot(f"s{n}") for n in range(5)]
    families = [family("m"), family("n"), family("o")]
    jobs = [job(f"j{n}", "mno"[n % 3], tenant="ab"[n % 2]) for n in range(12)]
    first = plan(view(slots, families, jobs))
    assert first == plan(view(slots, families, jobs))
    assert set(starts(first)) == set(starts(plan(view(slots[::-1], families, jobs[::-1]))))


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"jobs": [job("j", "n")]}, "jobs: j is of family 'n', which is not among `families`"),
        ({"jobs": [job("j")], "weights": {"t": 0.0}}, "weights: 0.0 of tenant 't' is no finite number above 0"),
    ],
)
def test_a_view_that_can_not_be_planned_names_the_field(fields, told):
    with pytest.raises(ValueError, match=f"^{told}$"):
        plan(view([slot("s")], [family("m")], **fields))
