"""`lorax-batch backup` and `lorax-batch restore`: all that a service keeps, in a folder and back."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lorax_batch_server.cli.exit_code import ExitCode
from lorax_batch_server.cli.options import JsonOption
from lorax_batch_server.cli.output import print_json, show_count
from lorax_batch_server.cli.own_stores import ConfigOption, DatabaseOption, ObjectStoreOption, own_settings
from lorax_batch_server.cli.reporting_group import CommandError

if TYPE_CHECKING:
    from lorax_batch_server.backup.manifest import Manifest
    from lorax_batch_server.settings import Settings

_To = Annotated[Path, typer.Argument(metavar="FOLDER", help="Where to: a folder that is not there yet, or empty.")]
_From = Annotated[Path, typer.Argument(metavar="FOLDER", help="What `backup` has written.")]
_BackupDirectory = Annotated[Path | None, typer.Option(help="The service's data directory; it may run.")]
_RestoreDirectory = Annotated[Path | None, typer.Option(help="The data directory to fill; no service may run on it.")]


def backup(
    folder: _To,
    config: ConfigOption = None,
    database_url: DatabaseOption = None,
    object_store: ObjectStoreOption = None,
    data_dir: _BackupDirectory = None,
    as_json: JsonOption = False,
) -> None:
    """Copy database and objects of a service to a folder, while it works: as they were at one moment."""
    import asyncio

    settings = own_settings(config, database_url=database_url, object_store=object_store, data_dir=data_dir)
    manifest = asyncio.run(_backup(settings, folder))
    _tell("backed up", manifest, as_json=as_json)


def restore(
    folder: _From,
    config: ConfigOption = None,
    database_url: DatabaseOption = None,
    object_store: ObjectStoreOption = None,
    data_dir: _RestoreDirectory = None,
    as_json: JsonOption = False,
) -> None:
    """Fill an empty database and an object store from a backup; then start services on them."""
    import asyncio

    settings = own_settings(config, database_url=database_url, object_store=object_store, data_dir=data_dir)
    manifest = asyncio.run(_restore(settings, folder))
    _tell("restored", manifest, as_json=as_json)


async def _backup(settings: "Settings", folder: Path) -> "Manifest":
    from lorax_batch_scheduler.errors import DatabaseError, ObjectStoreError

    from lorax_batch_server.backup.places import open_places
    from lorax_batch_server.backup.take import take_backup

    try:
        async with open_places(settings, of_running_service=True) as (dsn, objects):
            return await take_backup(dsn, objects, folder)
    except (DatabaseError, ObjectStoreError) as error:
        raise CommandError(f"not backed up: {error}; '{folder}' can be deleted", ExitCode.FAILED) from error


async def _restore(settings: "Settings", folder: Path) -> "Manifest":
    from lorax_batch_scheduler.errors import DatabaseError, ObjectStoreError

    from lorax_batch_server.backup.places import open_places
    from lorax_batch_server.backup.restore import restore_backup

    try:
        async with open_places(settings, of_running_service=False) as (dsn, objects):
            return await restore_backup(dsn, objects, folder)
    except (DatabaseError, ObjectStoreError) as error:
        raise CommandError(f"not restored: {error}; the same command again goes on", ExitCode.FAILED) from error


def _tell(done: str, manifest: "Manifest", *, as_json: bool) -> None:
    if as_json:
        fields = ("database_id", "schema_version", "begin_time", "end_time", "object_count", "object_bytes")
        print_json({name: getattr(manifest, name) for name in fields})
    else:
        objects = f"{show_count(manifest.object_count, 'object')} ({manifest.object_bytes:,} bytes)"
        typer.echo(f"{done}: the database as of {manifest.begin_time:%Y-%m-%d %H:%M:%S} UTC, {objects}")
