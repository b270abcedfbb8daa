"""Replays traces in virtual time: the planner of the service against a model of LoRAX servers, without either.

from lorax_batch_scheduler.replay import load_trace, replay_trace

run = replay_trace(load_trace(Path("trace.json")))
print(run.measures.makespan_ratio)
"""

from lorax_batch_scheduler.replay.measures import Measures
from lorax_batch_scheduler.replay.policies import POLICIES
from lorax_batch_scheduler.replay.report import PolicyRun, Report, compare_policies, replay_trace
from lorax_batch_scheduler.replay.trace import Trace
from lorax_batch_scheduler.replay.trace_file import dump_trace, load_trace, parse_trace

__all__ = [
    "POLICIES",
    "Measures",
    "PolicyRun",
    "Report",
    "Trace",
    "compare_policies",
    "dump_trace",
    "load_trace",
    "parse_trace",
    "replay_trace",
]
