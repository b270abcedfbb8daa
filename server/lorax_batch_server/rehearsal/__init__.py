"""Runs a trace for real, by a service of one's own on simulated servers, to see whether its replay tells the truth."""

from lorax_batch_server.rehearsal.live_run import LiveRun, run_live
from lorax_batch_server.rehearsal.pace import Pace, pace_of, usable_cores
from lorax_batch_server.rehearsal.simplified import simplified
from lorax_batch_server.rehearsal.stage import Stage

__all__ = ["LiveRun", "Pace", "Stage", "pace_of", "run_live", "simplified", "usable_cores"]
