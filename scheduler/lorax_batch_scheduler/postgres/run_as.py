"""Decides as which user the embedded PostgreSQL runs: it refuses to run as root."""

import os
import pwd
from dataclasses import asdict, dataclass
from pathlib import Path

from lorax_batch_scheduler.errors import ConfigurationError


@dataclass(frozen=True, slots=True, kw_only=True)
class RunAs:
    """The user that the guard turns into before it touches PostgreSQL."""

    uid: int
    gid: int
    namespace: bool
    """Whether to enter a user namespace in which our own uid is seen as `nobody`: files keep their owner on disk,
    nothing is chmod-ed, and it works below a 0700 /root."""

    def as_json(self) -> dict[str, object]:
        return asdict(self)


def choose_run_as(data: Path, *, bin_dir: Path, parent: Path) -> RunAs:
    """Return as whom to run; an existing data directory's owner decides, so that the ways never mix in one tree.

    Raises `ConfigurationError` when the data directory is someone else's.
    """
    uid, gid = os.geteuid(), os.getegid()
    if uid != 0:
        owner = _owner(data)
        if owner not in (None, uid):
            raise ConfigurationError(
                f"database files in '{data}' belong to {user_name(owner)}, but the service runs as {user_name(uid)}: "
                "run it as their owner, or choose another data directory"
            )
        # A container's made-up numeric uid: initdb insists on a name for the user it runs as.
        return RunAs(uid=uid, gid=gid, namespace=not _has_name(uid))
    owner = _owner(data)
    if owner == 0:
        return RunAs(uid=0, gid=gid, namespace=True)
    if owner is not None:
        return _user(owner)
    nobody = pwd.getpwnam("nobody").pw_uid
    if _reachable_by_others(bin_dir) and _reachable_by_others(parent):
        return _user(nobody)
    return RunAs(uid=0, gid=gid, namespace=True)


def user_name(uid: int | None) -> str:
    """Return how to name a user in a message."""
    if uid is None:
        return "nobody at all"
    try:
        return f"user '{pwd.getpwuid(uid).pw_name}'"
    except KeyError:
        return f"uid {uid}"


def _owner(path: Path) -> int | None:
    try:
        return path.stat().st_uid
    except FileNotFoundError:
        return None


def _user(uid: int) -> RunAs:
    try:
        return RunAs(uid=uid, gid=pwd.getpwuid(uid).pw_gid, namespace=False)
    except KeyError:
        raise ConfigurationError(
            f"the database files belong to uid {uid}, which this machine has no user for: run the service as it"
        ) from None


def _has_name(uid: int) -> bool:
    try:
        pwd.getpwuid(uid)
    except KeyError:
        return False
    return True


def _reachable_by_others(path: Path) -> bool:
    return all(place.stat().st_mode & 0o001 for place in (path, *path.parents))
