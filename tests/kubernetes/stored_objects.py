"""The objects of a fake cluster: versions, history, owners."""

import asyncio
import copy
import itertools
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

Object = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Change:
    """What a watch tells of."""

    version: int
    plural: str
    type: str
    item: Object


@dataclass(slots=True)
class StoredObjects:
    """Objects by (plural, namespace, name); every write makes a new version and wakes those who wait."""

    objects: dict[tuple[str, str, str], Object] = field(default_factory=dict)
    history: list[Change] = field(default_factory=list)
    oldest: int = 0
    """Changes up to this version are forgotten: watching from before it is told 410."""
    version: int = 1
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    _ages: Iterator[int] = field(default_factory=itertools.count)

    def get(self, plural: str, namespace: str, name: str) -> Object | None:
        return self.objects.get((plural, namespace, name))

    def list_all(self, plural: str, namespace: str = "") -> list[Object]:
        return [it for (kind, space, _), it in self.objects.items() if kind == plural and namespace in ("", space)]

    def create(self, plural: str, item: Object) -> Object:
        item = copy.deepcopy(item)
        metadata = item["metadata"]
        metadata["uid"] = str(uuid.uuid4())
        metadata["creationTimestamp"] = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S}.{next(self._ages):06}Z"
        self._put(plural, item, "ADDED")
        return item

    def update(self, plural: str, item: Object) -> Object:
        self._put(plural, copy.deepcopy(item), "MODIFIED")
        return item

    def remove(self, plural: str, item: Object) -> None:
        metadata = item["metadata"]
        if self.objects.pop((plural, metadata["namespace"], metadata["name"]), None) is not None:
            self._tell(plural, "DELETED", copy.deepcopy(item))

    def mark_deleted(self, plural: str, item: Object) -> None:
        """Give it its deletion timestamp: it stays until what it waits for is done."""
        if "deletionTimestamp" not in item["metadata"]:
            item = copy.deepcopy(item)
            item["metadata"]["deletionTimestamp"] = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
            self.update(plural, item)

    def owned_by(self, uid: str) -> list[tuple[str, Object]]:
        return [
            (plural, item)
            for (plural, _, _), item in list(self.objects.items())
            if any(owner["uid"] == uid for owner in item["metadata"].get("ownerReferences", []))
        ]

    def forget_history(self) -> None:
        """Do what the cluster's compaction does; the version moves on too, or an idle watch would not notice."""
        self.version += 1
        self.oldest = self.version
        self.history.clear()

    def _put(self, plural: str, item: Object, change: str) -> None:
        metadata = item["metadata"]
        self.objects[plural, metadata["namespace"], metadata["name"]] = item
        self._tell(plural, change, item)

    def _tell(self, plural: str, change: str, item: Object) -> None:
        self.version += 1
        item["metadata"]["resourceVersion"] = str(self.version)
        self.history.append(Change(self.version, plural, change, copy.deepcopy(item)))
        self.wake()

    def wake(self) -> None:
        """Let everyone look again."""
        self.changed.set()
        self.changed = asyncio.Event()
