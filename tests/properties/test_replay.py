"""Replays of small random traces: no policy beats a bound, every row ends once, and a replay can be repeated."""

from hypothesis import given, settings
from hypothesis import strategies as st
from lorax_batch_scheduler.replay.bounds import bounds_of
from lorax_batch_scheduler.replay.cluster import Replay
from lorax_batch_scheduler.replay.measures import measure
from lorax_batch_scheduler.replay.policies import POLICIES
from lorax_batch_scheduler.replay.trace import (
    VERSION,
    Failure,
    RowGroup,
    Trace,
    TraceFamily,
    TraceJob,
    TraceModel,
    TraceSlot,
    TraceTenant,
)

GIB = 1 << 30
MODELS = [
    TraceModel(name="7b", parameters=7 * 10**9, weight_bytes=14 * 10**9, kv_bytes_per_token=131_072),
    TraceModel(name="1b", parameters=10**9, weight_bytes=2 * 10**9, kv_bytes_per_token=32_768),
    TraceModel(name="4b", parameters=4 * 10**9, weight_bytes=8 * 10**9, kv_bytes_per_token=100_000),
]
KINDS = [("a100-80", 80), ("h100-80", 80), ("l40s-48", 48), ("a100-80", 40)]
groups = st.builds(
    RowGroup,
    count=st.integers(1, 300),
    prompt_tokens=st.integers(1, 2000),
    output_tokens=st.integers(1, 300),
    max_tokens=st.integers(0, 600),
    adapter=st.sampled_from(["", "", "a", "b", "c"]),
)


@st.composite
def traces(draw: st.DrawFn) -> Trace:
    kinds = draw(st.lists(st.sampled_from(KINDS), min_size=1, max_size=4))
    speeds = st.sampled_from([1.0, 1.0, 0.5, 1.5])
    slots = [
        TraceSlot(id=f"s{n}", kind=kind, memory_bytes=gib * GIB, node=f"n{n // 2}", speed=draw(speeds))
        for n, (kind, gib) in enumerate(kinds)
    ]
    jobs = []
    for n in range(draw(st.integers(1, 7))):
        arrival = draw(st.floats(0, 600).map(lambda time: round(time, 1)))
        deadline = draw(st.none() | st.floats(1, 2000).map(lambda time: round(time, 1)))
        jobs.append(
            TraceJob(
                id=f"j{n}",
                family=draw(st.sampled_from(MODELS)).name,
                arrival_s=arrival,
                tenant=draw(st.sampled_from("ab")),
                priority=draw(st.integers(0, 2)),
                deadline_s=None if deadline is None else arrival + deadline,
                rows=draw(st.lists(groups, min_size=1, max_size=3)),
            )
        )
    failures = st.builds(
        Failure,
        slot=st.sampled_from([slot.id for slot in slots]),
        time_s=st.floats(0, 800),
        duration_s=st.floats(1, 300),
    )
    return Trace(
        version=VERSION,
        slots=slots,
        models=MODELS,
        families=[TraceFamily(id=model.name, model=model.name) for model in MODELS],
        tenants=[TraceTenant(id="a"), TraceTenant(id="b", weight=2)],
        jobs=jobs,
        failures=draw(st.lists(failures, max_size=2)),
    )


@given(traces(), st.sampled_from(sorted(POLICIES)))
@settings(max_examples=60, deadline=None)
def test_no_policy_beats_a_bound_and_every_row_ends_once(trace: Trace, policy: str) -> None:
    bounds = bounds_of(trace)
    outcome = Replay(trace, POLICIES[policy]()).run()
    found = measure(trace, bounds, outcome)
    slack = 1 - 1e-9
    assert found.makespan_ratio >= slack
    assert found.flow_ratio >= slack
    assert found.gpu_ratio >= slack
    assert len(outcome.jobs) == len(trace.jobs)
    for run, bound in zip(outcome.jobs, bounds.jobs, strict=True):
        assert (run.ended_rows, run.left_rows, run.waiting_rows) == (run.row_count, 0, 0)
        assert run.finish is not None
        assert run.finish - run.trace.arrival_s >= bound.alone_s * slack


def test_a_large_job_ends_though_smaller_ones_of_higher_priority_never_stop_coming() -> None:
    def job(n: int, arrival: float, rows: int, priority: int) -> TraceJob:
        group = RowGroup(count=rows, prompt_tokens=2000, output_tokens=2)
        return TraceJob(id=f"j{n}", family="7b", arrival_s=arrival, tenant="a", priority=priority, rows=[group])

    small = [job(n, 300.0 * n, 3600, 1) for n in range(1, 70)]  # more than the slot can do
    trace = Trace(
        version=VERSION,
        slots=[TraceSlot(id="s", kind="a100-80", memory_bytes=80 * GIB)],
        models=MODELS,
        families=[TraceFamily(id="7b", model="7b")],
        tenants=[TraceTenant(id="a")],
        jobs=[*small, job(0, 500.0, 4000, 0)],
    )
    large = Replay(trace, POLICIES["setup_aware_fair"]()).run().jobs[-1]
    assert large.finish is not None
    assert large.finish < small[-1].arrival_s


@given(traces())
@settings(max_examples=15, deadline=None)
def test_a_replay_gives_the_same_again(trace: Trace) -> None:
    first, second = (Replay(trace, POLICIES["setup_aware_fair"]()).run() for _ in range(2))
    assert first.stays == second.stays
    assert [run.finish for run in first.jobs] == [run.finish for run in second.jobs]
