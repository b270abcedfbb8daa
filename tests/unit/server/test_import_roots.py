"""What callers may import from holds nothing of the service's own."""

from pathlib import Path
from typing import Any

import pytest
from lorax_batch_scheduler.errors import ConfigurationError
from lorax_batch_server.doctor.start_checks import check_start
from lorax_batch_server.import_roots import check_import_roots
from lorax_batch_server.settings import load_settings


def check(tmp_path: Path, root: Path, **settings: Any) -> None:
    settings.setdefault("data_dir", tmp_path / "data")
    check_import_roots(load_settings(import_roots=[str(tmp_path / "fine"), str(root)], **settings))


def test_roots_beside_what_is_private_are_taken(tmp_path: Path) -> None:
    check(tmp_path, tmp_path / "imports", object_store=str(tmp_path / "objects"))
    check(tmp_path, tmp_path / "data-of-callers", object_store="s3://bucket/imports")
    stores = {"database_url": "postgresql://db/x", "object_store": "s3://bucket/imports"}
    check(tmp_path, tmp_path, role="api", **stores)  # which uses no data directory


@pytest.mark.parametrize("root", [".", "data", "data/objects", "imports/../data"])
def test_a_root_that_holds_the_data_directory_or_lies_in_it_is_refused(tmp_path: Path, root: str) -> None:
    with pytest.raises(ConfigurationError, match=r"^import_roots: .* overlaps data_dir .*/data': move one of them"):
        check(tmp_path, tmp_path / root)
    found = check_start(load_settings(import_roots=[str(tmp_path / root)], data_dir=tmp_path / "data"))
    assert [finding.check for finding in found if finding.advice] == ["import roots"]


@pytest.mark.parametrize("url", ["{}", "file://{}"])
def test_a_root_that_holds_the_object_store_is_refused_behind_links_too(tmp_path: Path, url: str) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "disk")
    store = url.format(tmp_path / "disk/objects")
    with pytest.raises(ConfigurationError, match=r"'.*/link' \(.*/disk\), which overlaps object_store "):
        check(tmp_path, tmp_path / "link", object_store=store)


def test_a_root_that_holds_a_key_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="overlaps operator_key_file"):
        check(tmp_path, tmp_path / "keys", operator_key_file=tmp_path / "keys/operator")
