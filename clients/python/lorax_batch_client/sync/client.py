"""The whole client for plain threads."""

from lorax_batch_client.sync.datasets import DatasetCalls
from lorax_batch_client.sync.exports import ExportCalls
from lorax_batch_client.sync.fleet import FleetCalls
from lorax_batch_client.sync.jobs import JobCalls
from lorax_batch_client.sync.results import ResultCalls
from lorax_batch_client.sync.tenants import TenantCalls
from lorax_batch_client.sync.webhooks import WebhookCalls


class Client(DatasetCalls, JobCalls, ResultCalls, ExportCalls, FleetCalls, TenantCalls, WebhookCalls):
    """A connection to one lorax-batch service, for any number of threads.

    Every call raises a `ClientError` with a message for a person. Streams go on by themselves after a broken
    connection, for as long as the `retry` policy says. A target may name several replicas of the service, with commas
    between them (`api-1:50051,api-2:50051`): when one can't be reached, calls and streams go on at the next.

    `api_key` goes with every call, where the service asks for one. A call that comes more often than the key's tenant
    may is made again after the time that the service says.
    """
