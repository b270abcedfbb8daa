"""The few calls of a cluster's API that a fleet needs, on plain JSON."""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from enum import Enum
from http import HTTPStatus
from typing import Any, Final, NamedTuple

import msgspec

from lorax_batch_scheduler.server_hosts.kubernetes.cluster_call import NO_ANSWER, Call, Caller
from lorax_batch_scheduler.server_hosts.kubernetes.cluster_error import UNREACHABLE, ClusterError, error_of
from lorax_batch_scheduler.server_hosts.kubernetes.naming import Object

FIELD_MANAGER: Final = "lorax-batch"
WATCH_S: Final = 60
"""The API ends a watch after that long, so that none lives on a connection that is only half there."""
LOG_BYTES: Final = 64 * 1024


class Resource(Enum):
    """A kind of objects: its API group and its name in paths."""

    DEPLOYMENT = ("/apis/apps/v1", "deployments")
    POD = ("/api/v1", "pods")
    SERVICE = ("/api/v1", "services")
    SECRET = ("/api/v1", "secrets")
    LEASE = ("/apis/coordination.k8s.io/v1", "leases")

    def path(self, namespace: str, name: str = "") -> str:
        """Return where its objects, or one of them, are."""
        group, plural = self.value
        return f"{group}/namespaces/{namespace}/{plural}" + (f"/{name}" if name else "")


class Listing(NamedTuple):
    """All objects of a kind at one moment."""

    items: list[Object]
    version: str
    """What to watch from."""


class WatchEvent(NamedTuple):
    """A change of an object."""

    type: str
    """`ADDED`, `MODIFIED`, `DELETED` or `BOOKMARK`."""
    item: Object


class _RawEvent(msgspec.Struct):
    type: str
    object: msgspec.Raw


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterApi:
    """Calls in one namespace. Each raises `ClusterError` when the cluster refuses it or does not answer."""

    caller: Caller
    namespace: str

    async def create(self, resource: Resource, manifest: Mapping[str, Any]) -> Object:
        """Create an object; an error that `already_exists` where there is one of its name."""
        path, query = resource.path(self.namespace), {"fieldManager": FIELD_MANAGER}
        return await self._ask(Call(method="POST", path=path, query=query, body=manifest))

    async def replace(self, resource: Resource, manifest: Mapping[str, Any]) -> Object:
        """Put a changed object in the place of what was read; an error that `is_conflict` when it is another by now."""
        path = resource.path(self.namespace, manifest["metadata"]["name"])
        return await self._ask(Call(method="PUT", path=path, query={"fieldManager": FIELD_MANAGER}, body=manifest))

    async def apply(self, resource: Resource, manifest: Mapping[str, Any]) -> Object:
        """Make these fields of an object what they are in the manifest, whoever set them; create it if it is missing.

        A manifest with a `uid` only ever changes that object.
        """
        call = Call(
            method="PATCH",
            path=resource.path(self.namespace, manifest["metadata"]["name"]),
            query={"fieldManager": FIELD_MANAGER, "force": "true"},
            body=manifest,
            content_type="application/apply-patch+yaml",
        )
        return await self._ask(call)

    async def get(self, resource: Resource, name: str) -> Object:
        """Return an object."""
        return await self._ask(Call(method="GET", path=resource.path(self.namespace, name)))

    async def delete(self, resource: Resource, name: str, *, uid: str | None = None) -> None:
        """Delete an object, a Deployment after its pods; one that is gone, or is another by its uid, is no error."""
        # What owns nothing must not wait for the cluster's garbage collector: a Secret would hold its token meanwhile.
        policy = "Foreground" if resource is Resource.DEPLOYMENT else "Background"
        body: dict[str, object] = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": policy}
        if uid:
            body["preconditions"] = {"uid": uid}
        try:
            await self.caller.read(Call(method="DELETE", path=resource.path(self.namespace, name), body=body))
        except ClusterError as error:
            if not (error.is_not_found or (uid and error.is_conflict)):
                raise

    async def list_objects(self, resource: Resource, selector: str) -> Listing:
        """Return the objects with these labels."""
        answer = await self._ask(
            Call(method="GET", path=resource.path(self.namespace), query={"labelSelector": selector})
        )
        return Listing(answer.get("items") or [], answer["metadata"]["resourceVersion"])

    async def watch(self, resource: Resource, selector: str, version: str) -> AsyncIterator[WatchEvent]:
        """Yield the changes after a version, until the API ends it; an error that `is_expired` when it is too old."""
        query = {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "labelSelector": selector,
            "resourceVersion": version,
            "timeoutSeconds": str(WATCH_S),
        }
        call = Call(method="GET", path=resource.path(self.namespace), query=query, is_watch=True)
        what = f"watching {call.path}"
        try:
            async with await self.caller.send(call) as answer:
                if answer.status != HTTPStatus.OK:
                    raise error_of(what, answer.status, await answer.read())
                async for line in answer.content:
                    yield _event(what, line)
        except (*NO_ANSWER, msgspec.DecodeError) as error:
            raise ClusterError(what, UNREACHABLE, "", f"{type(error).__name__}: {error}") from error

    async def pod_log(self, pod: str, container: str, *, previous: bool, lines: int) -> list[str]:
        """Return the last lines that a container, or its last life before this one, has written."""
        query = {
            "container": container,
            "previous": str(previous).lower(),
            "tailLines": str(lines),
            "limitBytes": str(LOG_BYTES),
        }
        path = f"{Resource.POD.path(self.namespace, pod)}/log"
        data = await self.caller.read(Call(method="GET", path=path, query=query))
        return data.decode(errors="replace").splitlines()[-lines:]

    async def _ask(self, call: Call) -> dict[str, Any]:
        body = await self.caller.read(call)
        try:
            return msgspec.json.decode(body, type=dict[str, Any])
        except msgspec.DecodeError as error:
            raise ClusterError(str(call), UNREACHABLE, "", f"its answer is not of the API: {error}") from error


def _event(what: str, line: bytes) -> WatchEvent:
    event = msgspec.json.decode(line, type=_RawEvent)
    if event.type == "ERROR":
        raise error_of(what, 0, bytes(event.object))
    return WatchEvent(event.type, msgspec.json.decode(event.object))
