"""Where the embedded PostgreSQL's programs are taken from."""

from pathlib import Path

import pytest
from lorax_batch_scheduler.errors import ConfigurationError
from lorax_batch_scheduler.postgres import binaries
from lorax_batch_scheduler.postgres.binaries import BIN_VARIABLE, find_binaries


def install(bin_dir: Path, version: str) -> Path:
    bin_dir.mkdir(parents=True)
    for name in ("initdb", "postgres"):
        (bin_dir / name).write_text(f"#!/bin/sh\necho 'postgres (PostgreSQL) {version}'\n")
        (bin_dir / name).chmod(0o755)
    return bin_dir


@pytest.fixture(autouse=True)
def debian(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an empty folder that stands for /usr/lib/postgresql; there is no wheel."""
    monkeypatch.setattr(binaries, "_DEBIAN_ROOT", tmp_path / "postgresql")
    monkeypatch.setattr(binaries, "_WHEEL", "no_such_wheel")
    return tmp_path / "postgresql"


def test_the_variable_comes_first(debian: Path, tmp_path: Path) -> None:
    install(debian / "18" / "bin", "18.4")
    named = install(tmp_path / "mine", "16.1 (Debian 16.1-1)")
    found = find_binaries(environ={BIN_VARIABLE: str(named)})
    assert (found.bin_dir, found.major, found.provider) == (named, 16, BIN_VARIABLE)


def test_the_variable_is_obeyed_even_when_another_version_is_wanted(debian: Path, tmp_path: Path) -> None:
    install(debian / "15" / "bin", "15.18")
    named = install(tmp_path / "mine", "16.1")
    assert find_binaries(major=15, environ={BIN_VARIABLE: str(named)}).major == 16


@pytest.mark.parametrize(("version", "message"), [("14.9", "is PostgreSQL 14; 15 or newer"), ("?", "no working")])
def test_a_variable_that_names_nothing_usable_is_an_error(tmp_path: Path, version: str, message: str) -> None:
    named = install(tmp_path / "mine", version)
    with pytest.raises(ConfigurationError, match=message):
        find_binaries(environ={BIN_VARIABLE: str(named)})


def test_the_newest_of_the_system_is_taken(debian: Path) -> None:
    for version in ("9", "15", "17", "16"):
        install(debian / version / "bin", f"{version}.1")
    assert find_binaries(environ={}).major == 17


def test_the_version_that_made_the_files_is_preferred(debian: Path) -> None:
    for version in ("15", "17"):
        install(debian / version / "bin", f"{version}.1")
    assert find_binaries(major=15, environ={}).major == 15
    assert find_binaries(major=16, environ={}).major == 17


def test_what_lies_in_the_path_is_the_last_choice(tmp_path: Path) -> None:
    real = install(tmp_path / "opt" / "bin", "17.2")
    (tmp_path / "links").mkdir()
    (tmp_path / "links" / "postgres").symlink_to(real / "postgres")
    assert find_binaries(environ={"PATH": str(tmp_path / "links")}).bin_dir == real


def test_none_at_all_is_told_with_every_way_out(debian: Path) -> None:
    install(debian / "14" / "bin", "14.1")
    with pytest.raises(ConfigurationError, match=r"no PostgreSQL >= 15 .*pgserver.*LORAX_BATCH_PG_BIN.*--database-url"):
        find_binaries(environ={"PATH": ""})
