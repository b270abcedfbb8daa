"""Checks requests about datasets and turns them into the scheduler's values; pure."""

import re
from typing import Final

from lorax_batch.v1 import datasets_pb2 as pb
from lorax_batch_scheduler.dataset import NewDataset, OnInvalid

from lorax_batch_server.checks import (
    MAX_ID_CHARACTERS,
    MAX_NAME_CHARACTERS,
    MAX_REQUEST_ID_CHARACTERS,
    Checks,
)
from lorax_batch_server.translate_dataset import ON_INVALID_BY_NUMBER

MAX_PATH_CHARACTERS: Final = 4_096
_SHA256: Final = re.compile(r"[0-9a-f]{64}")


def check_start(start: pb.UploadStart, *, new_id: str, tenant: str, max_bytes: int) -> NewDataset | None:
    """Return the dataset to begin; None: one is continued. Raises `InvalidRequestError`."""
    checks = Checks()
    if start.offset < 0:
        checks.fail("start.offset", f"{start.offset} is negative: bytes are counted from 0")
    if start.total_bytes < 0:
        checks.fail("start.total_bytes", f"{start.total_bytes} is negative")
    if start.total_bytes > max_bytes:
        checks.fail("start.total_bytes", too_large(start.total_bytes, max_bytes))
    if start.dataset_id:
        checks.text("start.dataset_id", start.dataset_id, limit=MAX_ID_CHARACTERS)
        checks.done()
        return None
    if start.offset > 0:
        checks.fail("start.offset", f"{start.offset} needs `dataset_id`: a new dataset begins at 0")
    checks.text("start.name", start.name, limit=MAX_NAME_CHARACTERS)
    checks.text("start.request_id", start.request_id, limit=MAX_REQUEST_ID_CHARACTERS)
    on_invalid = _on_invalid(checks, "start.on_invalid", start.on_invalid)
    checks.done()
    return NewDataset(
        dataset_id=new_id,
        tenant=tenant,
        name=start.name or new_id,
        on_invalid=on_invalid,
        request_id=start.request_id or None,
    )


def check_sha256(sha256: str) -> str | None:
    """Return the checksum to compare with, None when unset. Raises `InvalidRequestError`."""
    checks = Checks()
    if sha256 and not _SHA256.fullmatch(sha256):
        checks.fail("finish.sha256", "is not a SHA-256: 64 lower-case hex digits are expected")
    checks.done()
    return sha256 or None


def check_import(request: pb.ImportDatasetRequest, *, new_id: str, tenant: str) -> NewDataset:
    """Return the dataset to make, its `source_path` as the caller wrote it. Raises `InvalidRequestError`."""
    checks = Checks()
    checks.text("path", request.path, limit=MAX_PATH_CHARACTERS, required=True)
    checks.text("name", request.name, limit=MAX_NAME_CHARACTERS)
    checks.text("request_id", request.request_id, limit=MAX_REQUEST_ID_CHARACTERS)
    on_invalid = _on_invalid(checks, "on_invalid", request.on_invalid)
    checks.done()
    return NewDataset(
        dataset_id=new_id,
        tenant=tenant,
        name=request.name or request.path.rpartition("/")[2][:MAX_NAME_CHARACTERS],
        on_invalid=on_invalid,
        source_path=request.path,
        request_id=request.request_id or None,
    )


def too_large(byte_count: int, max_bytes: int) -> str:
    """Return what a caller is told of a dataset that is too large."""
    return (
        f"{byte_count:,} bytes, but a dataset may have at most {max_bytes:,}: split it, or raise the service's setting "
        "max_dataset_bytes"
    )


def _on_invalid(checks: Checks, field: str, number: int) -> OnInvalid:
    if number not in ON_INVALID_BY_NUMBER:
        checks.fail(field, f"{number} is not a choice: 1 (FAIL) and 2 (SKIP) are")
    return ON_INVALID_BY_NUMBER.get(number, OnInvalid.FAIL)
