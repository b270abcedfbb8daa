"""Time scales that one machine can not keep up with."""

from lorax_batch_server.rehearsal import pace_of


def test_a_scale_that_asks_for_more_rows_than_a_machine_does_is_told_with_one_that_would_do() -> None:
    pace = pace_of(60_000, 800.0, 0.01, cores=2)
    assert pace.is_too_fast
    assert pace.warning(0.01) == (
        "warning: at --time-scale 0.01 the rows need 7,500 answers a second, but this machine does about 1,400: "
        "the live run will be late for that alone; --time-scale 0.054 would do"
    )
    assert not pace_of(60_000, 800.0, 0.054, cores=2).is_too_fast


def test_where_no_scale_would_do_fewer_rows_would() -> None:
    assert "give the trace fewer rows" in pace_of(60_000, 10.0, 1.0, cores=2).warning(1.0)
