"""`lorax-batch store`: the object store itself."""

from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lorax_batch_server.cli.deadline import parse_span
from lorax_batch_server.cli.options import JsonOption
from lorax_batch_server.cli.output import print_json, show_count
from lorax_batch_server.cli.own_stores import (
    ConfigOption,
    DatabaseOption,
    DataDirectoryOption,
    ObjectStoreOption,
    own_settings,
)
from lorax_batch_server.cli.reporting_group import CommandError

if TYPE_CHECKING:
    from lorax_batch_scheduler.ports import UnnamedObject

    from lorax_batch_server.settings import Settings

commands = typer.Typer(no_args_is_help=True, rich_markup_mode=None)


@commands.command()
def collect(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List what no row names; change nothing.")] = False,
    grace: Annotated[str, typer.Option(help="Delete what has had no name for so long.  [default: the setting]")] = "",
    config: ConfigOption = None,
    database_url: DatabaseOption = None,
    object_store: ObjectStoreOption = None,
    data_dir: DataDirectoryOption = None,
    as_json: JsonOption = False,
) -> None:
    """Delete objects that no row of the database names, as the service does by itself every few hours."""
    import asyncio

    settings = own_settings(config, database_url=database_url, object_store=object_store, data_dir=data_dir)
    if grace:
        settings = settings.model_copy(update={"collect_grace_s": _span(grace).total_seconds()})
    asyncio.run(_list_unnamed(settings, as_json=as_json) if dry_run else _collect(settings, as_json=as_json))


@commands.command()
def claim(
    config: ConfigOption = None,
    database_url: DatabaseOption = None,
    object_store: ObjectStoreOption = None,
    data_dir: Annotated[Path | None, typer.Option(help="The service's data directory; it must not run then.")] = None,
) -> None:
    """Say that the store's objects are those of this database: from then on, those it does not name are deleted."""
    import asyncio

    settings = own_settings(config, database_url=database_url, object_store=object_store, data_dir=data_dir)
    asyncio.run(_claim(settings))


def _span(text: str) -> timedelta:
    span = timedelta(0) if text == "0" else parse_span(text, option="--grace", sense="ago")
    if not isinstance(span, timedelta):
        raise CommandError(f"--grace: '{text}' is a moment: give a length of time, like 24h")
    return span


async def _list_unnamed(settings: "Settings", *, as_json: bool) -> None:
    from lorax_batch_server.collection import make_collector
    from lorax_batch_server.stores import open_stores

    count = size_bytes = 0
    async with open_stores(settings) as stores:
        async for found in make_collector(settings, stores).unnamed():
            count, size_bytes = count + 1, size_bytes + found.size_bytes
            _print_unnamed(found, as_json=as_json)
    if not as_json:
        typer.echo(f"{show_count(count, 'object')} without a name, {size_bytes:,} bytes; nothing was changed", err=True)


def _print_unnamed(found: "UnnamedObject", *, as_json: bool) -> None:
    if as_json:
        print_json({name: getattr(found, name) for name in ("key", "upload_id", "size_bytes", "first_seen")})
    else:
        upload = f" (unfinished upload {found.upload_id})" if found.upload_id else ""
        typer.echo(f"{found.key}{upload}  {found.size_bytes:,} bytes, seen {found.first_seen:%Y-%m-%d %H:%M:%S}")


async def _collect(settings: "Settings", *, as_json: bool) -> None:
    from lorax_batch_server.collection import make_collector
    from lorax_batch_server.stores import open_stores

    async with open_stores(settings) as stores:
        deleted = await make_collector(settings, stores).collect(at_once=True)
    if deleted is None:
        raise CommandError("another process is looking through the store right now: try again when it is done")
    if as_json:
        print_json({"deleted": deleted})
    else:
        typer.echo(f"deleted {show_count(deleted, 'object')}")


async def _claim(settings: "Settings") -> None:
    from lorax_batch_server.collection import make_collector
    from lorax_batch_server.stores import open_stores

    async with open_stores(settings) as stores:
        await make_collector(settings, stores).claim_store()
        typer.echo(f"{stores.objects!r} belongs to this database now")
