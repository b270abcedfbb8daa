"""What a key and a part may look like; the same for every store, so that data can move from one to another."""

import itertools
import re
from collections.abc import Sequence
from datetime import timedelta

from lorax_batch_scheduler.errors import InvalidInputError, ObjectNotFoundError
from lorax_batch_scheduler.ports import UploadedPart

KEY_LENGTH = 900
"""S3 allows 1,024 bytes, and a store may put a prefix of its own before the key."""
SEGMENT_LENGTH = 255
LEAST_PART_BYTES = 5 << 20
MOST_PARTS = 10_000
LONGEST_LINK = timedelta(days=7)
"""The longest life that a signature of S3 can have."""

_SEGMENT = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*")
_PREFIX = re.compile(r"([A-Za-z0-9_-][A-Za-z0-9._-]*(/[A-Za-z0-9_-][A-Za-z0-9._-]*)*/?)?")


def check_key(key: str) -> None:
    """Raise `InvalidInputError` unless the key is one that every store can hold."""
    if len(key) > KEY_LENGTH:
        raise InvalidInputError("key", f"is {len(key)} characters long, but {KEY_LENGTH} is the limit")
    for segment in key.split("/"):
        if not _SEGMENT.fullmatch(segment):
            raise InvalidInputError(
                "key", f"{key!r} is not made of segments of A-Z a-z 0-9 . _ - joined by '/', none beginning with '.'"
            )
        if len(segment) > SEGMENT_LENGTH:
            raise InvalidInputError("key", f"has a segment of {len(segment)} characters, {SEGMENT_LENGTH} is the limit")


def check_prefix(prefix: str) -> None:
    """Raise `InvalidInputError` unless a valid key can begin so; the empty prefix stands for every key."""
    if not _PREFIX.fullmatch(prefix):
        raise InvalidInputError("prefix", f"no key can begin with {prefix!r}")


def check_directory(prefix: str) -> None:
    """Raise `InvalidInputError` unless the prefix ends in `/`: a shorter one might delete its neighbours too."""
    check_prefix(prefix)
    if not prefix.endswith("/"):
        raise InvalidInputError("prefix", f"{prefix!r} must end in '/'")


def check_kept(prefix: str, keep: str) -> None:
    """Raise `InvalidInputError` unless `keep` is empty or a directory below the directory `prefix`."""
    check_directory(prefix)
    if keep:
        check_directory(keep)
        if not keep.startswith(prefix) or keep == prefix:
            raise InvalidInputError("keep", f"{keep!r} is not below {prefix!r}")


def is_kept(key: str, keep: str) -> bool:
    """Tell whether a key lies in the directory `keep`; the empty one keeps nothing."""
    return bool(keep) and key.startswith(keep)


def check_range(offset: int, length: int | None) -> None:
    if offset < 0:
        raise InvalidInputError("offset", f"is {offset}, but must not be negative")
    if length is not None and length < 0:
        raise InvalidInputError("length", f"is {length}, but must not be negative")


def check_part_number(number: int) -> None:
    if not 1 <= number <= MOST_PARTS:
        raise InvalidInputError("number", f"of a part is {number}, but must be between 1 and {MOST_PARTS}")


def check_parts(parts: Sequence[UploadedPart]) -> None:
    """Raise `InvalidInputError` unless an object can be made of the parts."""
    if not parts:
        raise InvalidInputError("parts", "is empty: an upload is completed with at least one part")
    for before, after in itertools.pairwise(parts):
        if after.number <= before.number:
            raise InvalidInputError("parts", f"has number {after.number} after {before.number}: they must ascend")
        if before.size_bytes < LEAST_PART_BYTES:
            raise InvalidInputError(
                "parts",
                f"has {before.size_bytes} bytes in number {before.number}, but all except the last need "
                f"{LEAST_PART_BYTES}",
            )


def check_upload_id(key: str, upload_id: str) -> None:
    """Raise `ObjectNotFoundError` for what no store gives as an id; some gateways to files take it for a path."""
    if any(segment in ("", ".", "..") for segment in upload_id.split("/")):
        raise ObjectNotFoundError(f"{key} (upload {upload_id!r})")


def check_link(lifetime: timedelta, file_name: str) -> None:
    """Raise `InvalidInputError` unless a link can live so long, and save what it leads to under that name."""
    if not timedelta(seconds=1) <= lifetime <= LONGEST_LINK:
        raise InvalidInputError("lifetime", f"is {lifetime}, but must be between 1 second and {LONGEST_LINK.days} days")
    if not _SEGMENT.fullmatch(file_name):
        raise InvalidInputError("file_name", f"{file_name!r} is not made of A-Z a-z 0-9 . _ -")
