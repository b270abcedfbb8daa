"""What of a trace can be run by a service on simulated servers."""

import msgspec
from lorax_batch_scheduler.replay import Trace


def simplified(trace: Trace) -> tuple[Trace, list[str]]:
    """Return a trace without what only a replay knows, and what that was, in words.

    Tenants come with keys, deadlines go by the database's clock, which is not scaled, and failures would need somebody
    who kills servers.
    """
    left_out = []
    if any(job.tenant for job in trace.jobs):
        left_out.append("tenants")
    if any(job.deadline_s is not None for job in trace.jobs):
        left_out.append("deadlines")
    if trace.failures:
        left_out.append("failures")
    jobs = [msgspec.structs.replace(job, tenant="", deadline_s=None) for job in trace.jobs]
    return msgspec.structs.replace(trace, jobs=jobs, tenants=[], failures=[]), left_out
