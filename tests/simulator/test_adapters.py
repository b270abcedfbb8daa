"""Downloads, loads, evictions and turns of adapters, under a clock moved by hand."""

import pytest
from lorax_simulator.adapters import AdapterPool, AdapterStatus
from lorax_simulator.faults import Faults
from lorax_simulator.hub import AdapterHub
from lorax_simulator.limits import Limits
from lorax_simulator.outcomes import Aborted
from lorax_simulator.row import Row

from tests.simulator.model import A100, Model


def test_a_cold_adapter_is_downloaded_then_loaded_then_its_row_runs():
    model = Model()
    row = model.submit("a")
    model.settle()
    assert row.joined_at == pytest.approx(4.0 + 0.7)
    assert (model.engine.loaded.downloads, model.engine.loaded.loads) == (1, 1)


def test_a_download_stops_token_generation_for_every_row():
    model = Model()
    model.warm("")
    row = model.submit(most=100)
    model.until(model.engine.now + 0.2)
    model.submit("cold")
    model.settle()
    undisturbed = 99 * A100.decode(1, with_adapters=False)
    assert row.finished_at - row.first_token_at > undisturbed + 4.0


def test_downloads_are_strictly_one_after_another():
    model = Model()
    first, second = model.submit("a"), model.submit("b")
    model.settle()
    assert first.joined_at >= 4.0
    assert second.joined_at >= 8.0


def test_an_idle_adapter_is_evicted_as_soon_as_another_is_pending_though_memory_is_free():
    model = Model()
    model.warm("a", "b")
    assert model.engine.loaded.offloads == 0
    model.submit("c")
    model.settle()
    assert model.engine.loaded.offloads >= 1
    assert model.engine.pool.known["a"].status.value == "downloaded"
    assert model.engine.pool.known["c"].status.value == "ready"


def test_an_evicted_adapter_comes_back_without_another_download():
    model = Model()
    model.warm("a")
    model.warm("b")
    again = model.submit("a")
    model.settle()
    assert model.engine.loaded.downloads == 2
    assert again.joined_at - again.queued_at < 4.0


def test_an_adapter_with_running_rows_is_not_evicted():
    model = Model()
    model.warm("a")
    model.submit("a", most=500)
    model.until(model.engine.now + 0.2)
    model.warm("b")
    assert model.engine.loaded.offloads == 0


def test_when_the_budget_is_full_the_longest_active_adapter_takes_turns_after_its_cycle_time():
    model = Model(limits=Limits(max_batch_prefill_tokens=110))
    model.hub.costs = {"a": 0.9, "b": 0.9}
    model.warm("a")
    own = [model.submit("a", most=200) for _ in range(40)]
    other = model.submit("b", most=5)
    model.settle()
    assert len(model.finished()) == 41
    assert other.joined_at > own[0].joined_at
    assert model.engine.loaded.offloads >= 1


def test_pending_adapters_keep_their_order_so_one_too_large_for_now_holds_up_the_next():
    model = Model()
    model.hub.costs = {"a": 0.9, "b": 0.9, "c": 0.01}
    model.warm("a")
    model.submit("a", most=2000)
    model.until(model.engine.now + 0.2)
    large = model.submit("b", most=5)
    small = model.submit("c", most=5)
    model.settle()
    assert small.joined_at >= large.joined_at


def test_rows_of_a_newly_active_adapter_come_first_then_those_that_waited_longest():
    pool = AdapterPool(max_active=10, cycle_time=2.0)
    order = [("old", 1.0), ("new", 2.0), ("old", 3.0), ("other", 1.5)]
    for number, (adapter, queued_at) in enumerate(order):
        pool.append(_row(number, adapter, queued_at))
    for adapter, activated_at in (("old", 0.0), ("other", 0.0), ("new", 9.0)):
        known = pool.known[adapter]
        known.status, known.activated_at = AdapterStatus.READY, activated_at
        pool.active.append(known)
    taken = [pool.next_row(10.0) for _ in range(4)]
    assert [(row.adapter_id, row.queued_at) for row in taken if row] == [
        ("new", 2.0),
        ("old", 1.0),
        ("other", 1.5),
        ("old", 3.0),
    ]


def _row(number: int, adapter: str, queued_at: float) -> Row:
    return Row(
        id=number,
        adapter_id=adapter,
        adapter_source="hub",
        prompt_tokens=1,
        max_new_tokens=1,
        target_tokens=1,
        arrived_at=0.0,
        queued_at=queued_at,
    )


def test_a_missing_adapter_fails_its_rows_like_the_hub_and_is_tried_anew_by_the_next():
    model = Model()
    first = model.submit("missing/adapter")
    model.settle()
    second = model.submit("missing/adapter")
    model.settle()
    for row in (first, second):
        assert "Repository Not Found" in model.failed()[row.id]
        assert "404 Client Error" in model.failed()[row.id]
    assert second.queued_at >= 4.0
    assert model.engine.now >= second.queued_at + 4.0


@pytest.mark.parametrize(
    ("fault", "text"),
    [
        ("adapter-not-found=^bad$", "Repository Not Found"),
        ("adapter-incompatible=^bad$", "is not compatible with model"),
        ("adapter-invalid=^bad$", "No valid adapter config file found"),
        ("adapter-too-large=^bad$", "is larger than adapter memory reservation"),
        ("no-dynamic-adapters", "Memory reserved for adapters is 0"),
    ],
)
def test_adapter_faults_fail_the_adapters_they_name(fault, text):
    model = Model(faults=[fault])
    bad, base = model.submit("bad"), model.submit("")
    model.settle()
    assert text in model.failed()[bad.id]
    assert model.finished() == [base]


def test_a_flaky_adapter_fails_once_and_then_loads():
    model = Model(faults=["adapter-flaky"])
    first = model.submit("a")
    model.settle()
    second = model.submit("a")
    model.settle()
    assert "Read timed out" in model.failed()[first.id]
    assert model.finished() == [second]


@pytest.mark.parametrize("fault", [[], ["disconnect-abort"]])
def test_hanging_up_on_a_failing_adapter_aborts_the_router_only_when_asked_for(fault):
    model = Model(faults=fault)
    row = model.submit("missing/adapter")
    model.engine.drop(row)
    model.settle()
    assert any(isinstance(outcome, Aborted) for outcome in model.outcomes) == bool(fault)


def test_download_times_are_the_same_for_the_same_seed_and_within_their_range():
    def times(seed):
        hub = AdapterHub(model_id="base", timing=A100, faults=Faults(), seed=seed)
        return [hub.seconds("download", f"org/{number}", "hub") for number in range(50)]

    assert times(1) == times(1) != times(2)
    assert all(1.0 <= seconds <= 30.0 for seconds in times(1))
    assert 2.0 < sorted(times(1))[25] < 8.0


def test_a_local_adapter_is_at_hand_and_an_unknown_source_is_refused():
    hub = AdapterHub(model_id="base", timing=A100, faults=Faults(), seed=0)
    assert hub.seconds("download", "/adapters/a", "local") == 0.1
    assert hub.error("download", "a", "ftp") == "Server error: Invalid source: ftp"
