"""The planner: what it must never do, whatever it is asked, and what it prefers."""

from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st
from lorax_batch_scheduler.fleet import ServerState
from lorax_batch_scheduler.packing import (
    AdapterRows,
    GiveChunks,
    ServerView,
    Snapshot,
    WaitingJob,
    give,
    gives,
    waits,
)
from lorax_batch_scheduler.packing.giving import why_waiting

START = datetime(2026, 1, 1, tzinfo=UTC)


def rows(adapter: str, chunks: int, each: int = 1000) -> AdapterRows:
    return AdapterRows(model=adapter, adapter=adapter, chunk_count=chunks, row_count=chunks * each)


def job(
    job_id: str, *adapters: AdapterRows, priority: int = 0, age: int = 0, model: str = "m", rank: int = 0
) -> WaitingJob:
    return WaitingJob(
        job_id=job_id,
        rank=rank,
        base_model_id=model,
        priority=priority,
        create_time=START - timedelta(seconds=age),
        rows=tuple(adapters),
    )


def server(server_id: str, wanted: int = 2000, load: float = 0.0, model: str | None = "m", **fields) -> ServerView:
    return ServerView(
        server_id=server_id,
        state=fields.pop("state", ServerState.READY),
        reason=fields.pop("reason", ""),
        base_model_id=model,
        wanted_rows=wanted,
        load=load,
        **fields,
    )


def planned(jobs: list[WaitingJob], servers: list[ServerView]) -> list[GiveChunks]:
    return list(gives(give(Snapshot(jobs=tuple(jobs), servers=tuple(servers)))))


def test_the_higher_priority_goes_first_then_the_older_job() -> None:
    jobs = [job("young", rows("", 1)), job("old", rows("", 1), age=60), job("urgent", rows("", 1), priority=1)]
    assert [each.job_id for each in planned(jobs, [server("s", wanted=2500)])] == ["urgent", "old", "young"]
    assert [each.job_id for each in planned(jobs, [server("s", wanted=1)])] == ["urgent"]


def test_two_servers_of_a_family_share_a_job_by_adapters() -> None:
    chosen = planned([job("j", rows("a", 2), rows("b", 2))], [server("s1"), server("s2")])
    assert {(give.server_id, give.model, give.chunk_count) for give in chosen} == {("s1", "a", 2), ("s2", "b", 2)}


def test_a_server_goes_on_with_the_adapter_that_it_works_on() -> None:
    busy = server("s1", wanted=1, working_on=frozenset({"b"}))
    warm = server("s2", wanted=1, warm=frozenset({"c"}))
    chosen = planned([job("j", rows("a", 9), rows("b", 1), rows("c", 1))], [busy, warm])
    assert {(give.server_id, give.model) for give in chosen} == {("s1", "b"), ("s2", "c")}


def test_an_adapter_that_another_server_works_on_is_left_to_it_while_there_are_others() -> None:
    s1, s2 = server("s1", wanted=1, working_on=frozenset({"a"})), server("s2", wanted=1)
    chosen = planned([job("j", rows("a", 9), rows("b", 1))], [s2, s1])
    assert {(give.server_id, give.model) for give in chosen} == {("s1", "a"), ("s2", "b")}
    chosen = planned([job("j", rows("a", 9))], [s2, s1])
    assert {give.server_id for give in chosen} == {"s1", "s2"}


def test_the_least_loaded_server_is_served_first() -> None:
    chosen = planned([job("j", rows("a", 1))], [server("s1", load=0.9), server("s2", load=0.1)])
    assert [give.server_id for give in chosen] == ["s2"]


def test_a_job_that_waits_is_told_why() -> None:
    def reason(*servers: ServerView) -> str:
        (wait,) = waits(give(Snapshot(jobs=(job("j", rows("a", 1)),), servers=servers)))
        return wait.reason

    assert reason() == "waiting for a server of m: none runs yet; `lorax-batch fleet slots` shows where one could"
    assert reason(server("s", model="other")) == "waiting for a server of m: none hosts it (hosted: other)"
    silent = server("s", model=None, state=ServerState.UNREACHABLE, reason="connection refused")
    assert "not known yet what these host: s: connection refused" in reason(silent)
    down = server("s", state=ServerState.UNREACHABLE, reason="connection refused")
    assert reason(down) == "waiting for a server of m to be ready: s: connection refused"
    assert "waiting for its turn" in reason(server("s", wanted=0))


def test_of_servers_that_start_or_end_a_job_is_told_what_placing_knows() -> None:
    def reason(state: ServerState, told: str) -> str | None:
        waiting = replace(job("j", rows("a", 1)), told=told)
        return why_waiting(waiting, (server("s", state=state, reason="Connection refused"),))

    starts = "a server of m starts on gpu-0: about 40 s left"
    assert reason(ServerState.STARTING, starts) == f"waiting for a server of m: {starts}"
    assert reason(ServerState.DRAINING, "gpu-0 is drained") == "waiting for a server of m: gpu-0 is drained"
    refused = "waiting for a server of m to be ready: s: Connection refused"
    assert reason(ServerState.STARTING, "") == refused
    assert reason(ServerState.UNREACHABLE, starts) == refused


def test_servers_of_other_processes_are_waited_for_but_given_nothing() -> None:
    elsewhere = (server("e", model="m"), server("f", model="n"))
    jobs = (job("m", rows("a", 1)), job("n", rows("a", 1), model="n"), job("o", rows("a", 1), model="o"))
    actions = give(Snapshot(jobs=jobs, servers=(server("s", wanted=0),), elsewhere=elsewhere))
    assert list(gives(actions)) == []
    told = {wait.job_id: wait for wait in waits(actions)}
    assert {job_id: wait.stranded for job_id, wait in told.items()} == {"m": False, "n": False, "o": True}
    assert told["o"].reason == "waiting for a server of o: none hosts it (hosted: m, n)"


def test_a_job_with_rows_at_a_server_does_not_wait() -> None:
    at_work = WaitingJob(
        job_id="j", base_model_id="m", priority=0, create_time=START, rows=(rows("a", 1),), given_rows=5
    )
    assert give(Snapshot(jobs=(at_work,), servers=())) == []


snapshots = st.builds(
    Snapshot,
    jobs=st.lists(
        st.builds(
            job,
            st.uuids().map(str),
            st.builds(rows, st.sampled_from(["", "a"]), st.integers(1, 5), st.integers(1, 1000)),
            st.builds(rows, st.sampled_from(["b", "c"]), st.integers(1, 5), st.integers(1, 1000)),
            priority=st.integers(-2, 2),
            age=st.integers(0, 5),
            model=st.sampled_from(["m", "n"]),
        ),
        max_size=8,
        unique_by=lambda job: job.job_id,
    ).map(tuple),
    servers=st.lists(
        st.builds(
            server,
            st.sampled_from(["s1", "s2", "s3", "s4"]),
            wanted=st.integers(0, 4000),
            load=st.floats(0, 2),
            model=st.sampled_from(["m", "n", None]),
            state=st.sampled_from(list(ServerState)),
            working_on=st.frozensets(st.sampled_from(["", "a", "b"])),
        ),
        max_size=4,
        unique_by=lambda server: server.server_id,
    ).map(tuple),
)


@given(snapshots)
def test_a_plan_is_possible_complete_and_repeatable(snapshot: Snapshot) -> None:
    actions = give(snapshot)
    assert actions == give(snapshot)
    jobs = {one.job_id: one for one in snapshot.jobs}
    servers = {one.server_id: one for one in snapshot.servers}
    given_chunks: Counter[tuple[str, str]] = Counter()
    given_rows: Counter[str] = Counter()
    for action in gives(actions):
        there = next(one for one in jobs[action.job_id].rows if one.model == action.model)
        given_chunks[action.job_id, action.model] += action.chunk_count
        assert given_chunks[action.job_id, action.model] <= there.chunk_count
        assert servers[action.server_id].state is ServerState.READY
        assert servers[action.server_id].base_model_id == jobs[action.job_id].base_model_id
        # A server wants so many rows, and the chunk that reaches the mark may pass it.
        assert given_rows[action.server_id] < servers[action.server_id].wanted_rows
        given_rows[action.server_id] += (action.chunk_count - 1) * (there.row_count // there.chunk_count)
    told = {wait.job_id for wait in waits(actions)}
    served = {action.job_id for action in gives(actions)}
    assert told | served == set(jobs)
    assert not told & served
    for one in snapshot.servers:
        hungry = one.state is ServerState.READY and given_rows[one.server_id] == 0 and one.wanted_rows > 0
        if hungry and one.server_id not in {action.server_id for action in gives(actions)}:
            left = [
                each
                for waiting in jobs.values()
                if waiting.base_model_id == one.base_model_id
                for each in waiting.rows
                if given_chunks[waiting.job_id, each.model] < each.chunk_count
            ]
            assert not left, "a server that could run rows was given none"


def test_a_job_that_came_after_the_last_placing_overtakes_only_those_of_lower_priority() -> None:
    ordered = [job("first", rows("", 1), priority=5, rank=1), job("last", rows("", 1), rank=2)]
    for priority, place in ((5, 1), (3, 1), (0, 2), (-1, 2), (9, 0)):
        jobs = [*ordered, job("new", rows("", 1), priority=priority, age=9)]
        order = [action.job_id for action in planned(jobs, [server("s", wanted=5_000)])]
        assert order.index("new") == place, priority


def test_rows_go_to_servers_that_have_room_for_them():
    long = replace(job("long", rows("a", 3)), row_tokens=6_000, prompt_tokens=2_000)
    narrow = server("narrow", max_total_tokens=4_096, max_input_length=4_095)
    unread = server("unread", max_total_tokens=8_192, max_input_length=1_000)
    wide = server("wide", max_total_tokens=8_192, max_input_length=8_191)
    assert {action.server_id for action in planned([long], [narrow, unread, wide])} == {"wide"}
    assert planned([long], [narrow, unread]) == []
    assert {action.server_id for action in planned([job("short", rows("a", 1))], [narrow])} == {"narrow"}


def test_a_job_without_room_says_what_it_needs_and_what_there_is():
    long = replace(job("long", rows("a", 3)), row_tokens=6_000, told="slot gpu-0 is being freed")
    (wait,) = waits(give(Snapshot(jobs=(long,), servers=(server("narrow", max_total_tokens=4_096),))))
    assert wait.stranded
    assert wait.reason == (
        "waiting for a server of m with room for its longest rows: they may have 6,000 tokens with their answers, and "
        "narrow up to 4,096 is what there is; slot gpu-0 is being freed"
    )
