"""The client of lorax-batch: async and sync, typed."""

from lorax_batch_client.aio.client import AsyncClient
from lorax_batch_client.dataset import Dataset, DatasetState, InvalidCode, InvalidLine, ModelCount, OnInvalid
from lorax_batch_client.errors import ClientError
from lorax_batch_client.event import JobDeleted, JobEvent, JobProgressed, JobSnapshot, JobStateChanged
from lorax_batch_client.export import DownloadLink, Export, ExportState
from lorax_batch_client.fleet import Queue, Server, ServerState, Slot
from lorax_batch_client.fleet_event import (
    FleetEvent,
    FleetSnapshot,
    QueueChanged,
    ServerChanged,
    ServerRemoved,
    SlotChanged,
    SlotRemoved,
)
from lorax_batch_client.job import Cost, Counts, Job, JobAdmission, JobState, Progress, ResultFile, RowError, Usage
from lorax_batch_client.job_filter import JobFilter
from lorax_batch_client.result import ResultBlock, ResultKind, ResultOrder, ResultRow
from lorax_batch_client.retry_policy import RetryPolicy
from lorax_batch_client.server_config import ServerConfig
from lorax_batch_client.sync.client import Client
from lorax_batch_client.tenant import Key, NewKey, Quotas, Role, Tenant, TenantUsage
from lorax_batch_client.tls import Tls
from lorax_batch_client.webhook import Delivery, DeliveryState, Webhook, WebhookState, WebhookWithSecret

__all__ = [
    "AsyncClient",
    "Client",
    "ClientError",
    "Cost",
    "Counts",
    "Dataset",
    "DatasetState",
    "Delivery",
    "DeliveryState",
    "DownloadLink",
    "Export",
    "ExportState",
    "FleetEvent",
    "FleetSnapshot",
    "InvalidCode",
    "InvalidLine",
    "Job",
    "JobAdmission",
    "JobDeleted",
    "JobEvent",
    "JobFilter",
    "JobProgressed",
    "JobSnapshot",
    "JobState",
    "JobStateChanged",
    "Key",
    "ModelCount",
    "NewKey",
    "OnInvalid",
    "Progress",
    "Queue",
    "QueueChanged",
    "Quotas",
    "ResultBlock",
    "ResultFile",
    "ResultKind",
    "ResultOrder",
    "ResultRow",
    "RetryPolicy",
    "Role",
    "RowError",
    "Server",
    "ServerChanged",
    "ServerConfig",
    "ServerRemoved",
    "ServerState",
    "Slot",
    "SlotChanged",
    "SlotRemoved",
    "Tenant",
    "TenantUsage",
    "Tls",
    "Usage",
    "Webhook",
    "WebhookState",
    "WebhookWithSecret",
]
