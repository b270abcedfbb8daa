"""Which files of the server may be imported."""

import pytest
from lorax_batch_scheduler.errors import InvalidInputError
from lorax_batch_scheduler.ingest.imports import PathNotAllowedError, read_file, resolve_import


@pytest.fixture
def root(tmp_path):
    """Return an import root with a file, a link inside and links that lead out."""
    root = tmp_path / "root"
    root.mkdir()
    (root / "rows.jsonl").write_bytes(b"rows")
    (root / "inside").symlink_to(root / "rows.jsonl")
    (tmp_path / "secret").write_bytes(b"secret")
    (root / "outside").symlink_to(tmp_path / "secret")
    (root / "loop").symlink_to(root / "loop")
    return root


@pytest.mark.parametrize("name", ["rows.jsonl", "inside", "./rows.jsonl", "../root/rows.jsonl"])
def test_files_under_a_root_are_allowed(root, name):
    assert resolve_import(f"{root}/{name}", [root]) == root / "rows.jsonl"


@pytest.mark.parametrize("name", ["outside", "../secret", "../nothing", "loop", "a\0b"])
def test_what_lies_outside_is_not(root, name):
    with pytest.raises(PathNotAllowedError):
        resolve_import(f"{root}/{name}", [root])


def test_relative_paths_and_servers_without_roots_allow_nothing(root):
    with pytest.raises(PathNotAllowedError):
        resolve_import("rows.jsonl", [root])
    with pytest.raises(PathNotAllowedError):
        resolve_import(f"{root}/rows.jsonl", [])


@pytest.mark.parametrize("name", ["nothing", ""])
def test_a_root_holds_only_what_it_holds(root, name):
    with pytest.raises(InvalidInputError):
        resolve_import(f"{root}/{name}", [root])


async def test_a_file_that_became_a_link_is_not_read(root):
    assert [block async for block in read_file(root / "rows.jsonl")] == [b"rows"]
    with pytest.raises(OSError, match="symbolic links"):
        _ = [block async for block in read_file(root / "outside")]
