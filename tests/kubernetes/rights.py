"""The rights that docs/kubernetes.md asks for the service's account: a fake cluster lets it do nothing else."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from aiohttp import web

DOCUMENT = Path(__file__).parents[2] / "docs/kubernetes.md"
VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}


class Right(NamedTuple):
    """One rule of a Role for one resource and verb."""

    group: str
    resource: str
    verb: str


def documented_rules() -> list[dict[str, Any]]:
    """Return the rules of the Role that operators are told to make."""
    text = DOCUMENT.read_text(encoding="utf-8").split("```yaml\n")[1].split("```")[0]
    rules: list[dict[str, Any]] = yaml.safe_load(text)["rules"]
    return rules


def rights_of(rules: Iterable[dict[str, Any]]) -> frozenset[Right]:
    """Return what rules of a Role allow, one by one."""
    return frozenset(
        Right(group, resource, verb)
        for rule in rules
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    )


def needed_rights(request: web.Request, *, exists: bool) -> list[Right]:
    """Return what Kubernetes asks for a request; an apply of what does not exist yet is a creation too."""
    parts = request.path.split("/")
    group = parts[2] if parts[1] == "apis" else ""
    resource = request.match_info.get("plural", "pods")
    if request.method != "GET":
        verbs = [VERBS[request.method]] + ["create"] * (request.method == "PATCH" and not exists)
    elif "name" in request.match_info:
        verbs = ["get"]
    else:
        verbs = ["watch" if request.query.get("watch") == "true" else "list"]
    return [Right(group, f"{resource}/log" if parts[-1] == "log" else resource, verb) for verb in verbs]
