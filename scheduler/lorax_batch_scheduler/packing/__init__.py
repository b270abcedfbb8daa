"""Decides what runs where: pure functions from what is known to what should be done."""

from lorax_batch_scheduler.packing.giving import (
    Action,
    AdapterRows,
    ExplainWait,
    GiveChunks,
    ServerView,
    Snapshot,
    WaitingJob,
    give,
    gives,
    waits,
)

__all__ = [
    "Action",
    "AdapterRows",
    "ExplainWait",
    "GiveChunks",
    "ServerView",
    "Snapshot",
    "WaitingJob",
    "give",
    "gives",
    "waits",
]
