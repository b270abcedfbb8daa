"""What the scheduler needs of the outside, as protocols with their values."""

from lorax_batch_scheduler.ports.access_store import AccessStore
from lorax_batch_scheduler.ports.collection_store import CollectionPass, CollectionStore, StoredObject, UnnamedObject
from lorax_batch_scheduler.ports.dataset_store import DatasetStore
from lorax_batch_scheduler.ports.fleet_store import FleetReport, FleetStore
from lorax_batch_scheduler.ports.job_store import EventStore, JobStore
from lorax_batch_scheduler.ports.learned_store import LearnedStore
from lorax_batch_scheduler.ports.lease import (
    ChunkResults,
    CommitReceipt,
    JobActivity,
    LeasedChunk,
    RowLengths,
    RowsLeft,
    SegmentToStore,
)
from lorax_batch_scheduler.ports.lease_store import LeaseStore
from lorax_batch_scheduler.ports.object_store import ObjectInfo, ObjectStore, UnfinishedUpload, UploadedPart
from lorax_batch_scheduler.ports.page import Page
from lorax_batch_scheduler.ports.removal_store import Removal, RemovalStore
from lorax_batch_scheduler.ports.result_store import OutputProgress, ResultSource, ResultStore, StoredSegment

__all__ = [
    "AccessStore",
    "ChunkResults",
    "CollectionPass",
    "CollectionStore",
    "CommitReceipt",
    "DatasetStore",
    "EventStore",
    "FleetReport",
    "FleetStore",
    "JobActivity",
    "JobStore",
    "LearnedStore",
    "LeaseStore",
    "LeasedChunk",
    "ObjectInfo",
    "ObjectStore",
    "OutputProgress",
    "Page",
    "Removal",
    "RemovalStore",
    "ResultSource",
    "ResultStore",
    "RowLengths",
    "RowsLeft",
    "SegmentToStore",
    "StoredObject",
    "StoredSegment",
    "UnfinishedUpload",
    "UnnamedObject",
    "UploadedPart",
]
