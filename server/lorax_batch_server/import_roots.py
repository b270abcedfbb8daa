"""Sees to it that what callers may import from holds nothing of the service's own."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from lorax_batch_scheduler.errors import ConfigurationError
from lorax_batch_scheduler.objects.urls import directory_of

from lorax_batch_server.settings import Settings

_KEY_FILES: Final = (
    "operator_key_file",
    "secrets_key_file",
    "tls_key",
    "database_key",
    "object_store_key",
    "bucket_key",
    "server_key",
)


def check_import_roots(settings: Settings) -> None:
    """Raise `ConfigurationError` where a root holds, or lies in, what no caller may read; links are followed."""
    private = [(name, path, path.expanduser().resolve()) for name, path in _private_paths(settings)]
    for root in settings.import_roots:
        real_root = Path(root).resolve()
        for name, path, real in private:
            if real.is_relative_to(real_root) or real_root.is_relative_to(real):
                raise ConfigurationError(
                    f"import_roots: callers may import any file under '{root}'{_shown(root, real_root)}, which "
                    f"overlaps {name} '{path}'{_shown(path, real)}: move one of them, so that neither lies in the other"
                )


def _private_paths(settings: Settings) -> Iterator[tuple[str, Path]]:
    if settings.role.runs_jobs:  # an API of its own keeps nothing there
        yield "data_dir", settings.data_dir
    objects = directory_of(settings.object_store or "")
    if objects is not None:
        yield "object_store", objects
    for name in _KEY_FILES:
        path = getattr(settings, name)
        if path is not None:
            yield name, path


def _shown(path: Path | str, real: Path) -> str:
    return "" if str(path) == str(real) else f" ({real})"
