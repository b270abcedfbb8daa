"""Server-side apply as far as our objects need it: maps are merged, lists replaced, fields have owners."""

import copy
from collections.abc import Iterator
from typing import Any

Path = tuple[str, ...]
IDENTITY = {("apiVersion",), ("kind",), ("metadata", "name"), ("metadata", "namespace"), ("metadata", "uid")}


class ApplyConflictError(Exception):
    """A field belongs to another manager."""


def apply(current: dict[str, Any] | None, manifest: dict[str, Any], manager: str, *, force: bool) -> dict[str, Any]:
    """Return the object with the fields of a manifest, which now belong to `manager`."""
    item = copy.deepcopy(current) if current else {"metadata": {}}
    owners: dict[str, str] = item["metadata"].setdefault("managedFields", {})
    wanted = {path: value for path, value in leaves(manifest) if path not in IDENTITY}
    for path, value in wanted.items():
        owner = owners.get("/".join(path), manager)
        if owner != manager and not force and read(item, path) != value:
            raise ApplyConflictError(f"conflict with {owner!r}: .{'.'.join(path)}")
        owners["/".join(path)] = manager
    for path in [tuple(name.split("/")) for name, owner in owners.items() if owner == manager]:
        if not any(wanted_path[: len(path)] == path for wanted_path in wanted):
            drop(item, path)  # what a manager no longer names and nobody else does is removed
            del owners["/".join(path)]
    for path, value in leaves(manifest):
        write(item, path, value)
    return item


def leaves(item: dict[str, Any], start: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Yield the paths and values of what is no map, or an empty one."""
    for key, value in item.items():
        name = key.replace("/", "~1")
        if isinstance(value, dict) and value:
            yield from leaves(value, (*start, name))
        else:
            yield (*start, name), value


def read(item: Any, path: Path) -> Any:
    for key in path:
        item = item.get(key.replace("~1", "/"), {}) if isinstance(item, dict) else {}
    return item


def write(item: dict[str, Any], path: Path, value: Any) -> None:
    for key in path[:-1]:
        item = item.setdefault(key.replace("~1", "/"), {})
    item[path[-1].replace("~1", "/")] = copy.deepcopy(value)


def drop(item: dict[str, Any], path: Path) -> None:
    for key in path[:-1]:
        item = item.get(key.replace("~1", "/"), {})
    item.pop(path[-1].replace("~1", "/"), None)
