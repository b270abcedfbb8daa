"""What sharing servers has saved in the demo: what was measured, beside replays of the same jobs in virtual time."""

from datetime import timedelta
from typing import TYPE_CHECKING, Final

import typer

from lorax_batch_server.cli.output import print_table, show_span
from lorax_batch_server.cli.record import record_jobs, record_slot

if TYPE_CHECKING:
    from lorax_batch_client import Client
    from lorax_batch_scheduler.replay import Trace

ONE_JOB_A_SERVER: Final = "fifo_exclusive"


def record_trace(client: "Client", time_scale: float) -> "Trace":
    """Return what the service has run as a trace, in simulated seconds."""
    import msgspec
    from lorax_batch_client import JobFilter
    from lorax_batch_scheduler.catalogue import Catalogue
    from lorax_batch_scheduler.replay.record import trace_from

    models = Catalogue.load()
    jobs = list(record_jobs(client, JobFilter(), lambda job: True, models))
    trace = trace_from(jobs, [record_slot(slot) for slot in client.list_slots()], models, name="demo").trace
    scaled = [msgspec.structs.replace(job, arrival_s=job.arrival_s / time_scale) for job in trace.jobs]
    return msgspec.structs.replace(trace, jobs=scaled)


def print_comparison(trace: "Trace", *, starts: int, adapter_loads: int, measured_s: float) -> None:
    """Print servers started, adapters loaded and simulated seconds; a replay takes a few milliseconds."""
    from lorax_batch_scheduler.replay import replay_trace

    planned, alone = replay_trace(trace).measures, replay_trace(trace, ONE_JOB_A_SERVER).measures
    typer.echo()
    print_table(
        ("SERVERS AND ADAPTERS", "SERVERS STARTED", "ADAPTERS LOADED", "SIMULATED TIME"),
        (
            ("jobs share servers: as it has just run", starts, adapter_loads, _span(measured_s)),
            (
                "the same, replayed in virtual time",
                planned.cold_starts,
                planned.adapter_loads,
                _span(planned.makespan_s),
            ),
            (
                "one job at a time on a server: replayed",
                alone.cold_starts,
                alone.adapter_loads,
                _span(alone.makespan_s),
            ),
        ),
    )


def _span(seconds: float) -> str:
    return show_span(timedelta(seconds=seconds))
