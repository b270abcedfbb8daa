"""What a pod's status says of its server."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from lorax_batch_scheduler.server_hosts.kubernetes.manifests import CONTAINER
from lorax_batch_scheduler.server_hosts.kubernetes.naming import Object


@dataclass(frozen=True, slots=True, kw_only=True)
class PodCondition:
    """How far a server's pod is."""

    reason: str
    """For people."""
    is_running: bool = False
    """Its process runs; whether it answers is another question."""
    has_given_up: bool = False
    """The kubelet has seen it end again and again."""


def newest_pod(pods: Iterable[Object]) -> Object | None:
    """Return the pod that counts of a Deployment's: not one that is being replaced, if there is another."""
    return max(pods, key=_rank, default=None)


def condition_of(pod: Object | None, deployment: Object) -> PodCondition:
    """Return how a server's pod is; None: it has none yet."""
    if pod is None:
        return PodCondition(reason=_why_no_pod(deployment))
    status = pod.get("status") or {}
    container = _container_status(status)
    if status.get("phase") == "Failed":
        return PodCondition(reason=_told(status.get("reason") or "its pod failed", status.get("message")))
    if container is None:
        return PodCondition(reason=_why_not_scheduled(status))
    return _of_container(container)


def _of_container(container: Mapping[str, Any]) -> PodCondition:
    state = container.get("state") or {}
    last = _last_end(container)
    restarts = container.get("restartCount", 0)
    if "running" in state:
        reason = f"restarted {restarts} times, it last {last}" if last else ""
        return PodCondition(reason=reason, is_running=True)
    if "terminated" in state:
        return PodCondition(reason=f"it {last} and will be started again")
    waiting = state.get("waiting") or {}
    cause = waiting.get("reason") or "ContainerCreating"
    if cause == "CrashLoopBackOff":
        return PodCondition(reason=f"CrashLoopBackOff: it {last} after {restarts} restarts", has_given_up=True)
    if cause in ("ContainerCreating", "PodInitializing"):
        return PodCondition(reason="its image is being pulled")
    return PodCondition(reason=_told(cause, waiting.get("message")))


def _last_end(container: Mapping[str, Any]) -> str:
    """Return how the container last ended, as a predicate; "" if it never did."""
    states = (container.get("state") or {}, container.get("lastState") or {})
    ended = next((state["terminated"] for state in states if state.get("terminated")), None)
    if ended is None:
        return ""
    cause = ended.get("reason") or ""
    told = {"OOMKilled": " (OOMKilled: it had no memory left)", "Error": "", "Completed": ""}.get(cause, f" ({cause})")
    return f"ended with exit status {ended.get('exitCode')}{told}"


def _why_no_pod(deployment: Object) -> str:
    for condition in (deployment.get("status") or {}).get("conditions") or []:
        if condition.get("type") == "ReplicaFailure" and condition.get("status") == "True":
            return _told(condition.get("reason") or "ReplicaFailure", condition.get("message"))
    return "its pod is being created"


def _why_not_scheduled(status: Mapping[str, Any]) -> str:
    for condition in status.get("conditions") or []:
        if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
            return _told(condition.get("reason") or "Unschedulable", condition.get("message"))
    return "its pod is being scheduled"


def _container_status(status: Mapping[str, Any]) -> Mapping[str, Any] | None:
    return next((item for item in status.get("containerStatuses") or [] if item.get("name") == CONTAINER), None)


def _rank(pod: Object) -> tuple[bool, bool, str]:
    metadata = pod["metadata"]
    lives = metadata.get("deletionTimestamp") is None
    failed = (pod.get("status") or {}).get("phase") == "Failed"
    return lives, not failed, metadata.get("creationTimestamp") or ""


def _told(cause: str, message: str | None) -> str:
    return f"{cause}: {message}" if message else cause
