"""What the objects of a cluster say of the servers of a fleet."""

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from datetime import datetime

from lorax_batch_scheduler.ports.server_host import LaunchedServer, LaunchState
from lorax_batch_scheduler.server_hosts.kubernetes.launch_record import LaunchRecord
from lorax_batch_scheduler.server_hosts.kubernetes.manifests import PORT
from lorax_batch_scheduler.server_hosts.kubernetes.naming import (
    FAMILY_ANNOTATION,
    LAUNCH_ANNOTATION,
    MODEL_ANNOTATION,
    SERVER_LABEL,
    SLOT_LABEL,
    START_TIME_ANNOTATION,
    Object,
    annotation,
    label,
)
from lorax_batch_scheduler.server_hosts.kubernetes.pod_condition import condition_of, newest_pod


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerAddress:
    """What a server's URL can be made of."""

    namespace: str
    service: str
    """The Service's name, which is also the server's id."""
    pod: str


UrlOf = Callable[[ServerAddress], str]


def cluster_url(address: ServerAddress) -> str:
    """Return the URL by the cluster's DNS, which works inside the cluster."""
    return f"http://{address.service}.{address.namespace}.svc:{PORT}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """A server as its objects tell of it."""

    server: LaunchedServer
    deployment: str
    uid: str
    pod: str
    """Its newest pod; "" while it has none."""
    has_crashed: bool
    """It ends each time that the kubelet starts it."""


def observe(deployment: Object, pods: Iterable[Object], url_of: UrlOf) -> Observed:
    """Return how the server of a Deployment is; the pods are its own."""
    metadata = deployment["metadata"]
    server_id = label(deployment, SERVER_LABEL)
    pod = newest_pod(pods)
    condition = condition_of(pod, deployment)
    pod_name = pod["metadata"]["name"] if pod else ""
    ip = ((pod or {}).get("status") or {}).get("podIP") or ""
    launch = LaunchRecord.read(annotation(deployment, LAUNCH_ANNOTATION))
    state, url = LaunchState.STARTING, ""
    if metadata.get("deletionTimestamp"):
        state = LaunchState.STOPPING
    elif condition.is_running and ip:
        state = LaunchState.UP
        url = url_of(ServerAddress(namespace=metadata["namespace"], service=server_id, pod=pod_name))
    return Observed(
        server=LaunchedServer(
            server_id=server_id,
            slot_id=label(deployment, SLOT_LABEL),
            family=annotation(deployment, FAMILY_ANNOTATION),
            model=annotation(deployment, MODEL_ANNOTATION),
            state=state,
            url=url,
            start_time=_start_time(deployment),
            config=launch.config,
            arguments=launch.arguments,
            reason=condition.reason,
        ),
        deployment=metadata["name"],
        uid=metadata["uid"],
        pod=pod_name,
        has_crashed=condition.has_given_up,
    )


def is_unfinished(deployment: Object) -> bool:
    """Return whether its start went no further than claiming the slot."""
    return int((deployment.get("spec") or {}).get("replicas", 1)) == 0


def is_garbage(deployment: Object, slot_ids: Collection[str]) -> bool:
    """Return whether what an earlier life has left can't go on: its slot is not configured, or it never ran."""
    return label(deployment, SLOT_LABEL) not in slot_ids or is_unfinished(deployment)


def _start_time(deployment: Object) -> datetime | None:
    try:
        return datetime.fromisoformat(annotation(deployment, START_TIME_ANNOTATION))
    except ValueError:
        return None
