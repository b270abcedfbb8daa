"""Where a span belongs."""

import pytest
from lorax_batch_scheduler.telemetry.trace_context import TraceContext, of_job

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


def test_a_header_is_read_and_written() -> None:
    context = TraceContext.read(f"00-{TRACE}-{SPAN}-01")
    assert context == TraceContext(trace_id=TRACE, span_id=SPAN, sampled=True)
    assert context is not None
    assert context.header == f"00-{TRACE}-{SPAN}-01"


def test_a_later_version_is_read_as_far_as_it_is_known() -> None:
    context = TraceContext.read(f"cc-{TRACE}-{SPAN}-02-what the future brings")
    assert context is not None
    assert not context.sampled


@pytest.mark.parametrize(
    "text",
    [
        "",
        "nonsense",
        f"00-{TRACE}-{SPAN}",
        f"00-{TRACE}-{SPAN}-01-more",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01\n",
    ],
)
def test_what_is_no_header_is_none(text: str) -> None:
    assert TraceContext.read(text) is None


def test_every_process_tells_of_the_same_spans() -> None:
    header = f"00-{TRACE}-{SPAN}-01"
    job = of_job("job_1", header)
    assert (job.trace_id, job.parent_id, job.sampled) == (TRACE, SPAN, True)
    assert job == of_job("job_1", header)
    assert job.child("chunk", 1, 1) == of_job("job_1", header).child("chunk", 1, 1)
    assert len({job.span_id, job.child("chunk", 1, 1).span_id, job.child("chunk", 1, 2).span_id}) == 3


def test_a_job_without_a_caller_begins_its_own_trace() -> None:
    first, second = of_job("job_1", ""), of_job("job_2", "")
    assert first.parent_id == second.parent_id == ""
    assert first.trace_id != second.trace_id
    assert TraceContext.read(first.header) is not None


def test_chance_is_spread_evenly() -> None:
    chances = [of_job(f"job_{number}", "").chance for number in range(2_000)]
    assert 0.45 < sum(chance < 0.5 for chance in chances) / len(chances) < 0.55
