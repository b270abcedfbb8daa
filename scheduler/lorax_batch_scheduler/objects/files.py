"""Durable files: written aside, synced, then named. Blocking; the directory store calls these in threads."""

import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from errno import EACCES, EAGAIN, EDQUOT, EINTR, EIO, EMFILE, ENFILE, ENOSPC, EPERM, EROFS, ESTALE
from pathlib import Path
from typing import BinaryIO

from lorax_batch_scheduler.errors import ObjectNotFoundError, ObjectStoreError

_OLD_S = 24 * 3600.0
_PASSING = {EACCES, EAGAIN, EDQUOT, EINTR, EIO, EMFILE, ENFILE, ENOSPC, EPERM, EROFS, ESTALE}
"""Errors that may be gone at a later try: somebody makes room, mounts the disk anew, or gives the right back."""


@contextmanager
def file_errors(key: str) -> Iterator[None]:
    """Turn errors of the file system into those of the port."""
    try:
        yield
    except FileNotFoundError as error:
        raise ObjectNotFoundError(key) from error
    except (IsADirectoryError, NotADirectoryError) as error:
        raise ObjectStoreError(
            f"'{key}' can't be an object: in a directory store no key is the directory of another ({error})",
            retryable=False,
        ) from error
    except OSError as error:
        raise ObjectStoreError(f"'{key}': {error}", retryable=error.errno in _PASSING) from error


@contextmanager
def new_file(scratch: Path) -> Iterator[tuple[BinaryIO, Path]]:
    """Yield a file to fill, synced on a good end; it is removed unless it was given another name by then."""
    descriptor, name = tempfile.mkstemp(dir=scratch)
    try:
        with os.fdopen(descriptor, "wb", buffering=0) as file:
            yield file, Path(name)
    finally:
        with suppress(FileNotFoundError):
            os.unlink(name)  # noqa: PTH108  # not worth a Path


def write_file(path: Path, data: bytes, *, key: str, scratch: Path, replace: bool) -> bool:
    """Write a file durably; without `replace` only if there is none, telling whether this call wrote it."""
    with file_errors(key), new_file(scratch) as (file, aside):
        write_all(file, data)
        os.fsync(file.fileno())
        return give_name(aside, path, replace=replace)


def write_all(file: BinaryIO, data: bytes) -> None:
    left = memoryview(data)
    while left:
        left = left[file.write(left) :]


def give_name(aside: Path, path: Path, *, replace: bool) -> bool:
    """Make a synced file visible under its name, for good."""
    while True:
        try:
            if replace:
                aside.replace(path)
            else:
                path.hardlink_to(aside)
        except FileExistsError:
            return False
        except FileNotFoundError:
            # Made only when missing, and again when a `delete_prefix` has just removed it.
            make_directories(path.parent)
        else:
            sync_directory(path.parent)
            return True


def make_directories(path: Path) -> None:
    """Make a directory and those above it, durably."""
    if path.is_dir():
        return
    make_directories(path.parent)
    path.mkdir(exist_ok=True)
    sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_range(path: Path, key: str, offset: int, length: int | None) -> bytes:
    with file_errors(key), path.open("rb", buffering=0) as file:
        file.seek(offset)
        if length is None:
            return file.readall()
        blocks = []
        while length and (block := file.read(length)):
            blocks.append(block)
            length -= len(block)
        return blocks[0] if len(blocks) == 1 else b"".join(blocks)


def delete_file(path: Path, key: str) -> None:
    with suppress(ObjectNotFoundError), file_errors(key):
        path.unlink()
        sync_directory(path.parent)


def delete_tree(path: Path, key: str, kept: Path | None = None) -> int:
    """Delete all below a directory and itself, bottom up, except one below it; return how many files there were."""
    deleted = 0
    with file_errors(key):
        for folder, _, files in os.walk(path, topdown=False):
            if kept is not None and Path(folder).is_relative_to(kept):
                continue
            for name in files:
                with suppress(FileNotFoundError):
                    os.unlink(os.path.join(folder, name))  # noqa: PTH108, PTH118  # os.walk deals in strings
                    deleted += 1
            with suppress(OSError):  # somebody has just written there: not ours to delete any more
                os.rmdir(folder)  # noqa: PTH106
        if path.parent.is_dir():
            sync_directory(path.parent)
    return deleted


def list_directory(root: Path, directory: str) -> list[tuple[str, int | None]]:
    """Return what a directory holds, as (key, size) in key order; size None stands for a directory."""
    entries: list[tuple[str, int | None]] = []
    with file_errors(directory):
        try:
            with os.scandir(root / directory) as found:
                for entry in found:
                    if entry.name.startswith("."):
                        continue
                    key = f"{directory}/{entry.name}" if directory else entry.name
                    with suppress(FileNotFoundError):  # deleted meanwhile
                        entries.append((key, None if entry.is_dir() else entry.stat().st_size))
        except (FileNotFoundError, NotADirectoryError):
            return []
    # 'a-b' comes before 'a/c', though the directory 'a' comes before 'a-b'.
    return sorted(entries, key=lambda entry: entry[0] + "/" if entry[1] is None else entry[0])


def remove_old_files(directory: Path) -> None:
    """Remove what writers left behind when they were killed."""
    oldest = time.time() - _OLD_S
    for path in directory.iterdir():
        with suppress(FileNotFoundError):
            if path.stat().st_mtime < oldest:
                path.unlink()
