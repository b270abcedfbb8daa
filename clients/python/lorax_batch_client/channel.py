"""How the client talks to the service: the options of its gRPC channel."""

import json
from typing import Any, Final

DEFAULT_TARGET: Final = "localhost:50051"
LOOPBACK_PREFIXES: Final = ("unix:", "unix-abstract:", "localhost:", "127.", "[::1]:")

# Unary calls that may be sent twice without harm: the others are idempotent only with a `request_id`, which the
# client always sets, or are left to their caller (DeleteJob, DeleteDataset: the second answer would be NOT_FOUND).
RETRIED_METHODS: Final = {
    "lorax_batch.v1.BatchInference": (
        *("CreateJob", "GetJob", "ListJobs", "UpdateJob", "CancelJob"),
        *("PauseJob", "ResumeJob", "RetryJob"),
    ),
    "lorax_batch.v1.Datasets": ("GetUploadStatus", "ImportDataset", "GetDataset", "ListDatasets"),
    "lorax_batch.v1.Exports": ("CreateDownloadLink", "CreateExport", "GetExport", "ListExports"),
    "lorax_batch.v1.Fleet": ("ListSlots", "ListServers", "DrainSlot", "UndrainSlot"),
    # Not CreateTenant and CreateKey: the answer to the first is lost, and with it a secret.
    "lorax_batch.v1.Tenants": ("GetTenant", "ListTenants", "UpdateTenant", "ListKeys", "RevokeKey"),
    "lorax_batch.v1.Webhooks": ("GetWebhook", "ListWebhooks", "UpdateWebhook", "ListDeliveries", "RedeliverMessage"),
}
# A page of 1,000 datasets with full reports is far above gRPC's default of 4 MiB.
LARGEST_MESSAGE_BYTES: Final = 64 << 20


_REPEATABLE: Final = frozenset(method for methods in RETRIED_METHODS.values() for method in methods)
ATTEMPTS: Final = 4
ATTEMPTS_OF_MANY: Final = 2
"""Where there are other replicas, calls rather go on there."""


def channel_options(target: str, *, attempts: int = ATTEMPTS) -> list[tuple[str, Any]]:
    """Return the options for a channel to `target`; `attempts` counts those of a call that may be sent twice."""
    options: list[tuple[str, Any]] = [
        ("grpc.service_config", _service_config(attempts)),
        ("grpc.max_receive_message_length", LARGEST_MESSAGE_BYTES),
        # gRPC's own 1 to 120 s would keep a watch away long after the service is back.
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.min_reconnect_backoff_ms", 1_000),
        ("grpc.max_reconnect_backoff_ms", 5_000),
        # A peer that vanished without a word is noticed while a stream waits.
        ("grpc.keepalive_time_ms", 60_000),
        ("grpc.keepalive_timeout_ms", 20_000),
    ]
    if target.startswith(LOOPBACK_PREFIXES):
        # gRPC would send even these through `http_proxy`.
        options.append(("grpc.enable_http_proxy", 0))
    return options


def key_metadata(api_key: str) -> tuple[tuple[str, str], ...]:
    """Return what goes with every call; raise ValueError for what can't be a key."""
    if not api_key.isascii() or any(character.isspace() or not character.isprintable() for character in api_key):
        raise ValueError("the API key holds characters that no key has: give it as it was made")
    return (("authorization", f"Bearer {api_key}"),) if api_key else ()


def check_target(target: str) -> str:
    """Return the target, or raise ValueError when it can't be one, nor a list of such."""
    for one in split_targets(target):
        if "://" in one and not one.startswith(("dns://", "unix://")):
            raise ValueError(f"'{one}' is not a gRPC target: leave out the scheme, as in '{DEFAULT_TARGET}'")
        if not one:
            raise ValueError(f"the target is empty: give a host and port, as in '{DEFAULT_TARGET}'")
    return target


def split_targets(target: str) -> list[str]:
    """Return the replicas that a target names, with commas between them."""
    if target.startswith(("ipv4:", "ipv6:")):
        return [target]  # gRPC's own lists of addresses, between which it balances itself
    return [one.strip() for one in target.split(",")]


def may_be_sent_twice(request: object) -> bool:
    """Tell whether the call that takes this request can be repeated at another replica without harm."""
    # The contract names every request after its method.
    return type(request).__name__.removesuffix("Request") in _REPEATABLE


def _service_config(attempts: int) -> str:
    names = [
        {"service": service, "method": method} for service, methods in RETRIED_METHODS.items() for method in methods
    ]
    retry = {
        "maxAttempts": attempts,
        "initialBackoff": "0.1s",
        "maxBackoff": "1s",
        "backoffMultiplier": 2,
        "retryableStatusCodes": ["UNAVAILABLE"],
    }
    return json.dumps({"methodConfig": [{"name": names, "retryPolicy": retry}]})
