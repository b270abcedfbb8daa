"""What `python -m tests.load` measures in full, small: nothing lost or repeated, and memory within bounds; no times."""

from tests.load import flat_memory, polling, queueing, reading, replicas, watching


def test_ten_times_the_rows_take_hardly_more_memory():
    """The service holds rows in flight and what one commit takes, and gives back what it no longer needs."""
    small, large = flat_memory.measure((2_000, 20_000))
    for size in (small, large):
        assert (size.succeeded, size.lines) == (size.rows, size.rows)
    # The smaller one never comes to 1,024 rows in flight and full commits at once.
    assert large.service_mib - small.service_mib < 72
    assert large.postgres_mib - small.postgres_mib < 40
    assert large.most_calls_of_a_row <= 2  # rows of the two datasets have the same numbers


def test_each_of_many_watchers_is_told_every_state_change_once_and_in_order():
    """Watchers who read slowly or stop neither lose anything nor cost the service memory or the others anything."""
    load = watching.WatchLoad(readers=170, processes=1, slow=10, stalled=20, jobs=12, rows=20)
    report = watching.measure(load)
    assert report.watchers == 200
    assert report.state_changes >= 4 * load.jobs
    assert report.incomplete == 0
    assert report.open_mib < 24
    assert report.grown_mib < 24
    assert report.messages >= load.readers * report.state_changes
    # Progress of all jobs to all watchers has one budget, whatever their numbers; one round may be larger.
    progress = report.messages - load.readers * report.state_changes
    assert progress < 2 * load.jobs * load.readers + 2_000 * report.seconds


def test_many_jobs_at_once_all_end_with_all_their_rows():
    """However many wait, none is forgotten, and those that wait cost little memory."""
    report = queueing.measure(60, 40)
    assert report.succeeded == report.jobs
    assert report.rows_done == report.rows
    assert report.grown_mib < 32


def test_readers_who_stop_neither_hold_the_job_up_nor_lose_rows():
    """The job ends while some have stopped reading; then they read on and get every row."""
    load = reading.ReadingLoad(servers=2, in_flight=128, rows=4_000, slow=3, stalled=10, rounds=1)
    report = reading.measure(load)
    assert report.stuck == load.stalled
    assert report.complete == report.readers
    assert report.grown_mib < 6 * report.readers


def test_rows_go_on_in_a_storm_of_polls_whose_answers_never_go_back():
    """Polls share reads of the store, yet each is answered with what was true when it was asked."""
    load = polling.PollingLoad(servers=2, window_s=1.0, rounds=1, processes=1, callers=64)
    report = polling.measure("Both", load)
    assert report.calls_per_second * load.window_s > load.callers
    assert report.stormy_rows_per_second > 0
    assert report.backwards == 0


def test_schedulers_that_are_killed_in_turn_neither_lose_nor_double_a_row():
    """Whoever is killed, the others go on, and every row has one line in its job's file."""
    load = replicas.ReplicaLoad(
        seconds=5.0, schedulers=2, kill_every_s=2.0, rows=2_000, jobs=2, in_flight=64, lease_s=1.0, idle_s=0.5
    )
    report = replicas.measure(load)
    assert report.kills == 2
    assert report.succeeded == report.jobs
    assert (report.lost, report.doubled) == (0, 0)
    assert report.sent_again <= report.kills * (2 * 2_000 + load.in_flight)  # no more than lies between two commits
