"""Settings of commands that work on the service's PostgreSQL and object store themselves, with no service between."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from lorax_batch_server.settings import Settings

DatabaseOption = Annotated[str | None, typer.Option(help="The service's PostgreSQL, when it is not the embedded one.")]
ObjectStoreOption = Annotated[
    str | None, typer.Option(metavar="URL", help="The service's object store, as `serve` has it.")
]
DataDirectoryOption = Annotated[Path | None, typer.Option(help="The service's data directory; it must not run then.")]
ConfigOption = Annotated[Path | None, typer.Option(help="The service's file of settings.")]


def own_settings(
    config: Path | None, *, database_url: str | None, object_store: str | None = None, data_dir: Path | None = None
) -> "Settings":
    """Return the service's settings, for a process that keeps nothing on this machine where it can do without."""
    from lorax_batch_server.logs import set_up_logs
    from lorax_batch_server.role import Role
    from lorax_batch_server.settings import load_settings

    settings = load_settings(config, database_url=database_url, object_store=object_store, data_dir=data_dir)
    set_up_logs(level="warning", log_format=settings.log_format)
    shared = settings.database_url is not None and settings.object_store is not None
    return settings.model_copy(update={"role": Role.API if shared else Role.ALL})
