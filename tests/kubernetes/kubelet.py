"""The controllers and the kubelet of a fake cluster: pods for Deployments, deletion of what has no owner."""

import copy
import itertools
from typing import Any, Protocol

from tests.kubernetes.stored_objects import Object, StoredObjects

CONTAINER = "lorax"


class Containers(Protocol):
    """What runs in pods."""

    async def start(self, pod: Object) -> None: ...

    async def stop(self, pod_name: str) -> None: ...


class Kubelet:
    """Makes and ends pods by itself, unless it is told to hold."""

    def __init__(self, stored: StoredObjects, containers: Containers | None = None) -> None:
        self.holds_pods = False
        """No pods are made."""
        self.holds_starts = False
        """Pods stay pending."""
        self.holds_ends = False
        """Pods stay terminating."""
        self.logs: dict[tuple[str, bool], str] = {}
        """By pod, and whether of its life before this one."""
        self._stored = stored
        self._containers = containers
        self._numbers = itertools.count(1)

    def read_log(self, pod: str, previous: bool) -> str | None:
        return self.logs.get((pod, previous))

    async def run(self) -> None:
        """Work until cancelled."""
        while True:
            changed = self._stored.changed
            if not await self._reconcile():
                await changed.wait()

    async def _reconcile(self) -> bool:
        """Do the next thing; return whether there was one."""
        for step in (self._make_pod, self._start_pod, self._end_pod, self._end_deployment, self._collect):
            if await step():
                return True
        return False

    # --- what the test says ---

    def release(self) -> None:
        """Hold nothing any more."""
        self.holds_pods = self.holds_starts = self.holds_ends = False
        self._stored.wake()

    def pod(self, server_id: str) -> Object:
        """Return the pod of a server."""
        [pod] = self.pods(server_id)
        return pod

    def pods(self, server_id: str) -> list[Object]:
        return [
            it for it in self._stored.list_all("pods") if it["metadata"]["labels"]["lorax-batch/server"] == server_id
        ]

    def set_unschedulable(self, server_id: str, message: str) -> None:
        condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}
        self._set_status(self.pod(server_id), {"phase": "Pending", "conditions": [condition]})

    def set_waiting(self, server_id: str, reason: str, message: str = "") -> None:
        state = {"waiting": {"reason": reason, "message": message}}
        self._set_container(self.pod(server_id), {"state": state, "restartCount": 0}, "Pending")

    def set_running(self, server_id: str, *, restarts: int = 0, last: Object | None = None) -> None:
        container = {"state": {"running": {}}, "restartCount": restarts, "lastState": last or {}}
        self._set_container(self.pod(server_id), container, "Running")

    def set_ended(self, server_id: str, exit_code: int, reason: str = "Error") -> None:
        """Let its process end for the first time: it will be started again."""
        state = {"terminated": {"exitCode": exit_code, "reason": reason}}
        self._set_container(self.pod(server_id), {"state": state, "restartCount": 0}, "Running")

    def crash(self, server_id: str, exit_code: int, *, reason: str = "Error", log: str = "") -> None:
        """Let its process have ended again and again."""
        pod = self.pod(server_id)
        self.logs[pod["metadata"]["name"], True] = log
        last = {"terminated": {"exitCode": exit_code, "reason": reason}}
        waiting = {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off restarting failed container"}}
        self._set_container(pod, {"state": waiting, "lastState": last, "restartCount": 2}, "Running")

    def evict(self, server_id: str) -> None:
        """Let its node throw it out."""
        self._set_status(self.pod(server_id), {"phase": "Failed", "reason": "Evicted", "message": "low on memory"})

    # --- steps: each does one thing or returns False ---

    async def _make_pod(self) -> bool:
        for deployment in self._stored.list_all("deployments"):
            metadata, spec = deployment["metadata"], deployment["spec"]
            living = [it for it in self._owned(deployment) if it["status"]["phase"] != "Failed"]
            if self.holds_pods or "deletionTimestamp" in metadata or spec["replicas"] == len(living):
                continue
            pod = copy.deepcopy(spec["template"])
            owner = {"apiVersion": "apps/v1", "kind": "Deployment", "name": metadata["name"], "uid": metadata["uid"]}
            pod["metadata"] |= {
                "name": f"{metadata['name']}-{next(self._numbers)}",
                "namespace": metadata["namespace"],
                "ownerReferences": [owner],
            }
            self._stored.create("pods", pod | {"status": {"phase": "Pending"}})
            return True
        return False

    async def _start_pod(self) -> bool:
        for pod in self._stored.list_all("pods"):
            if self.holds_starts or pod["status"] != {"phase": "Pending"} or "deletionTimestamp" in pod["metadata"]:
                continue
            if self._containers is not None:
                await self._containers.start(pod)
            self._set_container(pod, {"state": {"running": {}}, "restartCount": 0}, "Running")
            return True
        return False

    async def _end_pod(self) -> bool:
        for pod in self._stored.list_all("pods"):
            owner = self._owner(pod)
            if owner is not None and "deletionTimestamp" not in owner["metadata"] | pod["metadata"]:
                continue
            if self.holds_ends:
                self._stored.mark_deleted("pods", pod)
                continue
            if self._containers is not None:
                await self._containers.stop(pod["metadata"]["name"])
            self._stored.remove("pods", pod)
            return True
        return False

    async def _end_deployment(self) -> bool:
        for deployment in self._stored.list_all("deployments"):
            if "deletionTimestamp" in deployment["metadata"] and not self._owned(deployment):
                self._stored.remove("deployments", deployment)
                return True
        return False

    async def _collect(self) -> bool:
        for plural in ("services", "secrets"):
            for item in self._stored.list_all(plural):
                if item["metadata"].get("ownerReferences") and self._owner(item) is None:
                    self._stored.remove(plural, item)
                    return True
        return False

    def _owned(self, deployment: Object) -> list[Object]:
        return [item for plural, item in self._stored.owned_by(deployment["metadata"]["uid"]) if plural == "pods"]

    def _owner(self, item: Object) -> Object | None:
        uid = item["metadata"]["ownerReferences"][0]["uid"]
        return next((it for it in self._stored.list_all("deployments") if it["metadata"]["uid"] == uid), None)

    def _set_container(self, pod: Object, container: Object, phase: str) -> None:
        ready = "running" in container["state"]
        status = {"name": CONTAINER, "ready": ready, **container}
        self._set_status(pod, {"phase": phase, "podIP": "10.0.0.9", "containerStatuses": [status]})

    def _set_status(self, pod: Object, status: dict[str, Any]) -> None:
        self._stored.update("pods", copy.deepcopy(pod) | {"status": status})
