"""The table of who may call what."""

from typing import Final

from lorax_batch_scheduler.tenant import Role

_PACKAGE: Final = "/lorax_batch.v1."
_READ: Final = {
    "BatchInference": ("GetJob", "ListJobs", "WatchJobs", "StreamResults", "DownloadResults"),
    "Datasets": ("GetUploadStatus", "GetDataset", "ListDatasets"),
    "Exports": ("CreateDownloadLink", "GetExport", "ListExports"),
    "Tenants": ("GetTenant",),
    "Webhooks": ("GetWebhook", "ListWebhooks", "ListDeliveries"),
}
_SUBMIT: Final = {
    "BatchInference": ("CreateJob", "UpdateJob", "CancelJob", "PauseJob", "ResumeJob", "RetryJob", "DeleteJob"),
    "Datasets": ("UploadDataset", "ImportDataset", "DeleteDataset"),
    "Exports": ("CreateExport",),
    "Webhooks": (
        *("CreateWebhook", "UpdateWebhook", "DeleteWebhook", "RotateWebhookSecret"),
        *("TestWebhook", "RedeliverMessage"),
    ),
}
_OPERATE: Final = {
    "Fleet": ("ListSlots", "ListServers", "DrainSlot", "UndrainSlot", "WatchFleet"),
    "Tenants": ("CreateTenant", "ListTenants", "UpdateTenant", "DeleteTenant", "CreateKey", "ListKeys", "RevokeKey"),
}

NEEDED_ROLES: Final = {
    f"{_PACKAGE}{service}/{method}": role
    for role, services in ((Role.READ, _READ), (Role.SUBMIT, _SUBMIT), (Role.OPERATE, _OPERATE))
    for service, methods in services.items()
    for method in methods
}
"""By the full name of the method. One that is missing here is refused to everybody who needs a key."""
