"""Decides what runs where: pure functions from what is known to what should be done.

`plan` says which family each slot hosts and in which order jobs are served; `give` which chunks go to which server.
"""

from lorax_batch_scheduler.packing.cluster import (
    ClusterView,
    DrainServer,
    ExplainJob,
    FamilyView,
    HostedServer,
    HostedState,
    JobView,
    PlaceAction,
    ServeJobs,
    SlotView,
    StartServer,
)
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
from lorax_batch_scheduler.packing.knobs import DEFAULT_KNOBS, Knobs
from lorax_batch_scheduler.packing.placing import plan
from lorax_batch_scheduler.packing.taking_back import MoveRows, QueuedRows, take_back

__all__ = [
    "DEFAULT_KNOBS",
    "Action",
    "AdapterRows",
    "ClusterView",
    "DrainServer",
    "ExplainJob",
    "ExplainWait",
    "FamilyView",
    "GiveChunks",
    "HostedServer",
    "HostedState",
    "JobView",
    "Knobs",
    "MoveRows",
    "PlaceAction",
    "QueuedRows",
    "ServeJobs",
    "ServerView",
    "SlotView",
    "Snapshot",
    "StartServer",
    "WaitingJob",
    "give",
    "gives",
    "plan",
    "take_back",
    "waits",
]
