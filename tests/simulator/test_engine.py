"""The batching loop under a clock moved by hand: timing, admission, waves, failures."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lorax_simulator.limits import Limits
from lorax_simulator.outcomes import Aborted, HealthChecked, TokenMade
from lorax_simulator.timing import TIMINGS

from tests.simulator.model import A100, Model


def test_a_lone_row_takes_its_prefill_and_one_decode_step_per_further_token():
    model = Model()
    row = model.submit(prompt=100, most=50)
    model.settle()
    assert row.first_token_at == pytest.approx(0.015 + 0.0001 * 100)
    assert row.finished_at == pytest.approx(row.first_token_at + 49 * (0.015 + 0.0002))


@pytest.mark.parametrize(("gpu", "prefill", "step"), [("a100", 0.025, 0.0152), ("h100", 0.014, 0.00912)])
def test_each_gpu_has_its_own_step_times(gpu, prefill, step):
    model = Model(timing=TIMINGS[gpu])
    row = model.submit(prompt=100, most=2)
    model.settle()
    assert row.first_token_at == pytest.approx(prefill)
    assert row.finished_at - row.first_token_at == pytest.approx(step)


def test_decoding_is_slower_while_an_adapter_runs():
    model = Model()
    model.warm("org/adapter")
    row = model.submit("org/adapter", most=11)
    model.settle()
    assert row.finished_at - row.first_token_at == pytest.approx(10 * 0.0152 * 1.4)


def test_a_row_of_one_token_is_done_at_its_prefill():
    model = Model()
    row = model.submit(most=1)
    model.settle()
    assert row.finished_at == row.first_token_at


def test_an_idle_server_takes_waiting_rows_at_once_up_to_the_prefill_budget():
    model = Model(limits=Limits(max_batch_prefill_tokens=250, eager_prefill=False))
    rows = [model.submit() for _ in range(3)]
    model.settle()
    assert rows[0].joined_at == rows[1].joined_at < rows[2].joined_at


def test_a_row_that_arrives_while_others_run_waits_for_the_wave_after_20_steps():
    model = Model()
    model.warm("")
    running = [model.submit(most=200) for _ in range(3)]
    model.until(model.engine.now + 1.0)  # all three run, well past their prefills
    late = model.submit(most=5)
    waves_before = model.engine.since_prefill
    model.settle()
    assert waves_before > 1
    steps_waited = (late.joined_at - late.queued_at) / A100.decode(3, with_adapters=False)
    assert steps_waited <= 20
    assert late.finished_at < running[0].finished_at


def test_since_the_last_prefill_exactly_20_tokens_are_made_before_the_next_row_joins():
    model = Model()
    model.warm("")
    first, second, third = (model.submit(most=300) for _ in range(3))
    model.until(max(first.first_token_at, model.engine.now + 0.1))
    start = model.engine.now
    late = model.submit(most=5)
    model.settle()
    assert late.queued_at == start
    last_prefill = max(row.first_token_at for row in (first, second, third))
    steps = (late.joined_at - last_prefill) / A100.decode(3, with_adapters=False)
    assert steps == pytest.approx(19)  # the prefill made the first of the 20


def test_many_waiting_rows_join_before_the_wave():
    model = Model()
    model.warm("")
    for _ in range(3):
        model.submit(most=300)
    model.until(model.engine.now + 0.2)
    late = [model.submit(most=300) for _ in range(3)]  # >= floor(1.2 x 3)
    model.settle()
    assert all(row.joined_at - row.queued_at <= A100.decode(3, with_adapters=False) for row in late)


def test_a_row_reserves_its_prompt_and_max_tokens_in_blocks_of_16():
    model = Model()
    model.warm("")
    free = model.engine.blocks.free
    row = model.submit(prompt=30, most=1000)
    model.until(model.engine.now)
    assert row.blocks == 65  # ceil((30 + 1000 - 1) / 16)
    assert model.engine.blocks.free == free - 65
    model.settle()
    assert model.engine.blocks.free == free == 350_000 // 16 - 1


def test_a_row_that_does_not_fit_holds_up_the_small_ones_behind_it():
    model = Model(limits=Limits(max_batch_total_tokens=1600))
    model.warm("")
    running = model.submit(prompt=100, most=900)
    model.until(model.engine.now + 0.1)
    large = model.submit(prompt=100, most=900)
    small = model.submit(prompt=10, most=10)
    model.settle()
    assert large.joined_at >= running.finished_at
    assert small.joined_at >= large.joined_at


def test_a_row_larger_than_all_blocks_wedges_the_server_until_it_hangs_up():
    model = Model(limits=Limits(max_batch_total_tokens=1000))
    model.warm("")
    impossible = model.submit(prompt=100, most=901)
    behind = model.submit(prompt=10, most=10)
    model.settle()
    assert model.finished() == []
    model.engine.drop(impossible)
    after = model.submit(prompt=10, most=10)
    model.settle()
    assert model.finished() == [behind, after]


@pytest.mark.parametrize(("faults", "kept"), [((), 0), (("leaky-blocks",), 3)])
def test_rows_put_back_because_the_batch_was_too_small_keep_their_blocks_only_when_asked_for(faults, kept):
    limits = Limits(max_batch_total_tokens=16 * 64, max_batch_prefill_tokens=30, eager_prefill=False)
    model = Model(limits=limits, faults=faults)
    model.warm("")
    for _ in range(3):
        model.submit(prompt=10, most=100)
    model.until(model.engine.now + 0.1)
    free = model.engine.blocks.free
    for _ in range(3):
        model.submit(prompt=20, most=20)  # three wait, but the prefill budget lets only one be assembled
    model.until(model.engine.now + 0.1)
    assert len(model.engine.running) == 3
    assert model.engine.blocks.free == free - kept


def test_without_eager_prefill_a_wave_is_one_prefill():
    joined = {}
    for eager in (True, False):
        model = Model(limits=Limits(max_batch_prefill_tokens=200, eager_prefill=eager))
        model.warm("")
        rows = [model.submit(most=200) for _ in range(9)]
        model.until(model.engine.now + 0.2)
        joined[eager] = sum(row.joined_at > 0 for row in rows)
        model.settle()
        assert len(model.finished()) == 9
    assert joined[True] == 9 > joined[False]


def test_a_dropped_running_row_frees_its_blocks_at_the_next_step():
    model = Model()
    model.warm("")
    free = model.engine.blocks.free
    row = model.submit(most=1000)
    model.until(model.engine.now + 1.0)
    model.engine.drop(row)
    assert model.engine.blocks.free < free
    model.settle()
    assert model.engine.blocks.free == free
    assert model.outcomes == []


def test_a_streaming_row_reports_every_token_but_its_last():
    model = Model()
    row = model.submit(most=5, streams=True)
    model.settle()
    assert [outcome.index for outcome in model.outcomes if isinstance(outcome, TokenMade)] == [0, 1, 2, 3]
    assert model.finished() == [row]


def test_one_bad_prefill_fails_every_running_row():
    model = Model()
    model.warm("")
    innocent = [model.submit(most=300) for _ in range(2)]
    model.until(model.engine.now + 0.2)
    poison = model.submit(error="Server error: bad row")
    model.settle()
    assert model.failed() == dict.fromkeys([row.id for row in (*innocent, poison)], "Server error: bad row")
    assert model.engine.blocks.free == model.engine.blocks.total


def test_after_a_failed_batch_the_next_row_is_answered():
    model = Model(faults=["batch-failure=1"])
    lost = model.submit()
    model.settle()
    kept = model.submit()
    model.settle()
    assert list(model.failed()) == [lost.id]
    assert model.finished() == [kept]


def test_more_rows_than_the_memory_holds_fail_all_of_them():
    model = Model(faults=["oom=2"])
    model.warm("")
    rows = [model.submit() for _ in range(4)]
    model.settle()
    assert "out of memory" in model.failed()[rows[0].id]


def test_a_device_assert_fails_every_batch_and_the_health_check():
    model = Model(faults=["cuda-assert"])
    row = model.submit()
    model.settle()
    model.engine.check_health(7)
    model.settle()
    assert "device-side assert" in model.failed()[row.id]
    assert HealthChecked(7, healthy=False) in model.outcomes


def test_a_health_check_waits_behind_an_adapter_download():
    model = Model()
    model.submit("org/adapter")
    model.engine.check_health(1)
    model.until(3.9)
    assert model.outcomes == []
    model.until(4.1)
    assert model.outcomes == [HealthChecked(1, healthy=True)]


def test_a_wedged_server_admits_nothing_but_finishes_what_runs():
    model = Model(faults=["wedge=1"])
    model.warm("")
    waiting = model.submit()
    model.settle()
    assert not model.outcomes
    assert not model.engine.running
    model.engine.drop(waiting)
    answered = model.submit()
    model.settle()
    assert model.finished() == [answered]


def test_an_unnumbered_wedge_lasts_until_it_is_switched_off():
    model = Model(faults=["wedge"])
    row = model.submit()
    model.settle()
    assert model.finished() == []
    model.faults.switch_off("wedge")
    model.engine.nudge()
    model.settle()
    assert model.finished() == [row]


@pytest.mark.parametrize(("fault", "text"), [("router-abort=2", None), ("shard-crash=2", "transport error")])
def test_a_crash_comes_after_so_many_answers(fault, text):
    model = Model(faults=[fault])
    model.warm("")
    rows = [model.submit(makes=makes) for makes in (5, 90)]
    model.settle()
    assert isinstance(model.outcomes[-1], Aborted)
    assert model.finished() == rows[:1]
    assert [message for message in model.failed().values() if text and text in message] == (
        [model.failed()[rows[1].id]] if text else []
    )


@pytest.mark.parametrize("fault", [[], ["prefill-abort"]])
def test_a_bad_prefill_beside_a_decoding_batch_aborts_the_router_only_when_asked_for(fault):
    model = Model(faults=fault)
    model.warm("")
    model.submit(most=300)
    model.until(model.engine.now + 0.2)
    model.submit(error="bad")
    model.settle()
    assert any(isinstance(outcome, Aborted) for outcome in model.outcomes) == bool(fault)


WORKLOADS = st.lists(
    st.tuples(
        st.floats(0, 3, allow_nan=False),
        st.sampled_from(["", "a", "b", "c"]),
        st.integers(1, 300),
        st.integers(1, 120),
        st.booleans(),
    ),
    max_size=12,
)


def _finish_times(workload, *, hop):
    model = Model(limits=Limits(max_batch_total_tokens=1200, max_batch_prefill_tokens=500))
    rows = []
    time = 0.0
    for wait, adapter, prompt, most, streams in workload:
        time += wait
        hop(model, time)
        rows.append(model.submit(adapter, prompt=prompt, most=most, streams=streams))
    hop(model, 1000.0)
    return [row.finished_at for row in rows], model


def _by_wakeups(model, time):
    while (wakeup := model.engine.next_wakeup()) is not None and wakeup <= time:
        model.until(wakeup)
    model.until(time)


@settings(deadline=None)  # the machine may be busy
@given(workload=WORKLOADS)
def test_no_outcome_comes_later_than_the_wakeup_that_announced_it(workload):
    leapt, _ = _finish_times(workload, hop=lambda model, time: model.until(time))
    woken, model = _finish_times(workload, hop=_by_wakeups)
    assert woken == leapt
    assert model.engine.next_wakeup() is None
    assert len(model.finished()) == len(workload)
    assert model.engine.blocks.free == model.engine.blocks.total
    assert not model.engine.pool.waiting


TROUBLE = st.lists(
    st.tuples(
        st.floats(0, 2, allow_nan=False),
        st.sampled_from(["", "a", "b", "missing/x"]),
        st.integers(1, 80),
        st.sampled_from(["stays", "stays", "hangs up", "poisons"]),
        st.floats(0, 3, allow_nan=False),
    ),
    max_size=14,
)


@settings(deadline=None)  # the machine may be busy
@given(workload=TROUBLE, budget=st.sampled_from([700, 350_000]))
def test_whatever_goes_wrong_every_row_ends_once_and_all_blocks_come_back(workload, budget):
    model = Model(limits=Limits(max_batch_total_tokens=budget, max_batch_prefill_tokens=400))
    events = []
    time = 0.0
    for number, (wait, adapter, most, manner, patience) in enumerate(workload):
        time += wait
        events.append((time, number, adapter, most, manner))
        if manner == "hangs up":
            events.append((time + patience, number, None, 0, manner))
    rows = {}
    hung_up = set()
    for at, number, adapter, most, manner in sorted(events, key=lambda event: event[0]):
        model.until(at)
        if adapter is not None:
            rows[number] = model.submit(adapter, most=most, error="poisoned" if manner == "poisons" else None)
        elif rows[number] not in [*model.finished(), *(row for row in rows.values() if row.id in model.failed())]:
            model.engine.drop(rows[number])
            hung_up.add(rows[number])
    model.submit("")  # something reaches the rows that hung up in the queue
    model.settle()
    ended = [row.id for row in model.finished()] + list(model.failed())
    assert len(ended) == len(set(ended))
    assert set(ended) | {row.id for row in hung_up} >= {row.id for row in rows.values()}
    assert not set(ended) & {row.id for row in hung_up}
    assert model.engine.blocks.free == model.engine.blocks.total
    assert not model.engine.running
    assert not model.engine.pool.waiting
