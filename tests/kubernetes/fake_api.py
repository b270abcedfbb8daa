"""The part of Kubernetes' API that a fleet uses, over HTTP on loopback, with faults on demand."""

import asyncio
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from tests.kubernetes.rights import Right, documented_rules, needed_rights, rights_of
from tests.kubernetes.server_side_apply import ApplyConflictError, apply
from tests.kubernetes.stored_objects import Change, Object, StoredObjects

ROUTES = (
    "/api/v1/namespaces/{namespace}/{plural}",
    "/apis/apps/v1/namespaces/{namespace}/{plural}",
    "/apis/coordination.k8s.io/v1/namespaces/{namespace}/{plural}",
)
LABEL = r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?"
KNOWN = {
    "/api/v1": {"pods", "services", "secrets"},
    "/apis/apps/v1": {"deployments"},
    "/apis/coordination.k8s.io/v1": {"leases"},
}

NO_ANSWER = 0
"""Instead of a status: the connection is cut."""


@dataclass(slots=True, kw_only=True)
class Fault:
    """An answer instead of the right one."""

    method: str
    plural: str
    status: int
    reason: str = ""
    message: str = "a fault of the test"
    times: int = 1
    after: bool = False
    """The call is done first: only its answer is lost."""
    watches: bool | None = None
    """None: of both kinds of GET."""


class FakeApi:
    """An API server; the objects are in `stored`, and a log of its calls in `calls`."""

    def __init__(self, stored: StoredObjects, read_log: Callable[[str, bool], str | None]) -> None:
        self.stored = stored
        self.calls: list[tuple[str, str]] = []
        """Method (WATCH for watches) and plural."""
        self.requests: list[web.Request] = []
        self.faults: list[Fault] = []
        self.before: dict[tuple[str, str], Callable[[], None]] = {}
        """Done once before a call of that method and plural."""
        self.tokens: set[str] = set()
        """What is accepted; empty: anything."""
        self.rights = rights_of(documented_rules())
        """What the account may do."""
        self.used: set[Right] = set()
        """What it was allowed to do so far."""
        self.expired_by_status = False
        """410 as the answer's status, and not as an event of a watch."""
        self.served = 0
        """Watches that were begun."""
        self._read_log = read_log
        self._watches: dict[asyncio.Task[Any], web.StreamResponse] = {}

    @property
    def watches(self) -> int:
        return len(self._watches)

    def application(self) -> web.Application:
        app = web.Application(middlewares=[self._guard])
        for route in ROUTES:
            app.router.add_get(route, self._list_or_watch)
            app.router.add_post(route, self._create)
            app.router.add_get(route + "/{name}", self._get)
            app.router.add_put(route + "/{name}", self._replace)
            app.router.add_patch(route + "/{name}", self._apply)
            app.router.add_delete(route + "/{name}", self._delete)
        app.router.add_get(ROUTES[0] + "/{name}/log", self._log)
        return app

    def cut_watches(self) -> None:
        """Break their connections."""
        for answer in self._watches.values():
            request = answer._req
            assert request is not None
            assert request.transport is not None
            request.transport.abort()

    async def send_bookmarks(self) -> None:
        """Tell all watches the version."""
        for answer in self._watches.values():
            metadata = {"resourceVersion": str(self.stored.version)}
            await write_event(answer, "BOOKMARK", {"kind": "Bookmark", "metadata": metadata})

    async def send_error(self, status: int, reason: str) -> None:
        """End all watches with an error event."""
        for answer in self._watches.values():
            await write_event(answer, "ERROR", status_object(status, reason, "a fault of the test"))

    # --- handlers ---

    @web.middleware
    async def _guard(self, request: web.Request, handler: Any) -> web.StreamResponse:
        plural = request.match_info.get("plural", "")
        is_watch = request.query.get("watch") == "true"
        self.calls.append(("WATCH" if is_watch else request.method, plural))
        self.requests.append(request)
        if self.tokens and request.headers.get("Authorization", "").removeprefix("Bearer ") not in self.tokens:
            return refusal(401, "Unauthorized", "Unauthorized")
        if lacking := self._use_rights(request):
            return refusal(403, "Forbidden", f"the account may not {lacking.verb} {lacking.resource}")
        self.before.pop((request.method, plural), lambda: None)()
        for fault in self.faults:
            if (fault.method, fault.plural) == (request.method, plural) and fault.watches in (None, is_watch):
                fault.times -= 1
                if fault.times == 0:
                    self.faults.remove(fault)
                if fault.after:
                    await handler(request)
                if fault.status == NO_ANSWER:
                    assert request.transport is not None
                    request.transport.abort()
                return refusal(fault.status or 503, fault.reason, fault.message)
        if plural not in KNOWN[request.path.partition("/namespaces")[0]]:
            return refusal(404, "NotFound", "the server could not find the requested resource")
        return await handler(request)  # type: ignore[no-any-return]

    def _use_rights(self, request: web.Request) -> Right | None:
        """Note the rights that a request needs; return one that the account lacks."""
        name, namespace = request.match_info.get("name", ""), request.match_info["namespace"]
        exists = self.stored.get(request.match_info.get("plural", "pods"), namespace, name) is not None
        needed = needed_rights(request, exists=exists)
        if lacking := next((right for right in needed if right not in self.rights), None):
            return lacking
        self.used.update(needed)
        return None

    async def _create(self, request: web.Request) -> web.Response:
        namespace, plural, item = *where(request), await request.json()
        name = item["metadata"]["name"]
        if wrong := wrong_label(item):
            return refusal(422, "Invalid", f"metadata.labels: Invalid value: {wrong!r}")
        if self.stored.get(plural, namespace, name):
            return refusal(409, "AlreadyExists", f'{plural} "{name}" already exists')
        return web.json_response(self.stored.create(plural, item), status=201)

    async def _replace(self, request: web.Request) -> web.Response:
        (namespace, plural), item = where(request), await request.json()
        current = self.stored.get(plural, namespace, request.match_info["name"])
        if current is None:
            return not_found(request)
        if item["metadata"].get("resourceVersion") != current["metadata"]["resourceVersion"]:
            return refusal(409, "Conflict", "the object has been modified; please apply your changes to the latest")
        return web.json_response(self.stored.update(plural, item))

    async def _apply(self, request: web.Request) -> web.Response:
        if request.content_type != "application/apply-patch+yaml":
            return refusal(415, "UnsupportedMediaType", request.content_type)
        if not (manager := request.query.get("fieldManager")):
            return refusal(400, "BadRequest", "fieldManager is required for apply patch")
        (namespace, plural), manifest = where(request), await request.json()
        current = self.stored.get(plural, namespace, request.match_info["name"])
        uid = manifest["metadata"].get("uid")
        if uid and (current is None or current["metadata"]["uid"] != uid):
            return refusal(409, "Conflict", f"uid mismatch: the provided object specified uid {uid}")
        try:
            item = apply(current, manifest, manager, force=request.query.get("force") == "true")
        except ApplyConflictError as error:
            return refusal(409, "Conflict", str(error))
        if current is None:
            return web.json_response(self.stored.create(plural, item), status=201)
        return web.json_response(self.stored.update(plural, item))

    async def _get(self, request: web.Request) -> web.Response:
        namespace, plural = where(request)
        item = self.stored.get(plural, namespace, request.match_info["name"])
        return web.json_response(item) if item else not_found(request)

    async def _delete(self, request: web.Request) -> web.Response:
        namespace, plural = where(request)
        options = await request.json() if request.can_read_body else {}
        item = self.stored.get(plural, namespace, request.match_info["name"])
        if item is None:
            return not_found(request)
        uid = options.get("preconditions", {}).get("uid")
        if uid and uid != item["metadata"]["uid"]:
            return refusal(409, "Conflict", f"the UID in the precondition ({uid}) does not match")
        if options.get("propagationPolicy") == "Foreground":
            self.stored.mark_deleted(plural, item)
        else:
            self.stored.remove(plural, item)
        return web.json_response(status_object(200, "", ""))

    async def _log(self, request: web.Request) -> web.Response:
        text = self._read_log(request.match_info["name"], request.query.get("previous") == "true")
        if text is None:
            return refusal(400, "BadRequest", "previous terminated container not found")
        lines = text.splitlines()[-int(request.query.get("tailLines", "1000000")) :]
        return web.Response(text="\n".join(lines))

    async def _list_or_watch(self, request: web.Request) -> web.StreamResponse:
        if request.query.get("watch") == "true":
            return await self._watch(request)
        namespace, plural = where(request)
        items = [item for item in self.stored.list_all(plural, namespace) if matches(item, request)]
        return web.json_response({"metadata": {"resourceVersion": str(self.stored.version)}, "items": items})

    async def _watch(self, request: web.Request) -> web.StreamResponse:
        version = int(request.query["resourceVersion"])
        if version < self.stored.oldest and self.expired_by_status:
            return refusal(410, "Expired", "too old resource version")
        answer = web.StreamResponse(headers={"Content-Type": "application/json"})
        await answer.prepare(request)
        task = asyncio.current_task()
        assert task is not None
        self._watches[task] = answer
        self.served += 1
        self.stored.wake()
        try:
            async with asyncio.timeout(float(request.query["timeoutSeconds"])):
                await self._tell_changes(request, answer, version)
        except (ConnectionError, TimeoutError):
            pass  # it was cut, or its time is over
        finally:
            del self._watches[task]
        return answer

    async def _tell_changes(self, request: web.Request, answer: web.StreamResponse, version: int) -> None:
        namespace, plural = where(request)
        if version < self.stored.oldest:
            await write_event(answer, "ERROR", status_object(410, "Expired", "too old resource version"))
            return
        while True:
            changed = self.stored.changed
            for change in [it for it in self.stored.history if it.version > version]:
                version = change.version
                if self._is_told(change, plural, namespace, request):
                    await write_event(answer, change.type, change.item)
            await changed.wait()

    def _is_told(self, change: Change, plural: str, namespace: str, request: web.Request) -> bool:
        return (
            change.plural == plural
            and change.item["metadata"]["namespace"] == namespace
            and matches(change.item, request)
        )


def wrong_label(item: Object) -> str | None:
    """Return a label's value that Kubernetes would not take."""
    values = item["metadata"].get("labels", {}).values()
    return next((value for value in values if not re.fullmatch(LABEL, value)), None)


async def write_event(answer: web.StreamResponse, kind: str, item: Object) -> None:
    await answer.write(json.dumps({"type": kind, "object": item}).encode() + b"\n")


def where(request: web.Request) -> tuple[str, str]:
    return request.match_info["namespace"], request.match_info["plural"]


def matches(item: Object, request: web.Request) -> bool:
    wanted = [term.split("=") for term in request.query.get("labelSelector", "").split(",") if term]
    labels = item["metadata"].get("labels", {})
    return all(labels.get(name) == value for name, value in wanted)


def not_found(request: web.Request) -> web.Response:
    return refusal(404, "NotFound", f"{request.match_info['plural']} {request.match_info['name']!r} not found")


def refusal(status: int, reason: str, message: str) -> web.Response:
    return web.json_response(status_object(status, reason, message), status=status)


def status_object(status: int, reason: str, message: str) -> Object:
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Success" if status < 400 else "Failure",
        "code": status,
        "reason": reason,
        "message": message,
    }
