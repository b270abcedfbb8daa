"""`lorax-batch secrets`: the keys that tokens are sealed with."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from lorax_batch_server.cli.options import JsonOption
from lorax_batch_server.cli.output import print_json, print_table
from lorax_batch_server.cli.reporting_group import CommandError

if TYPE_CHECKING:
    from lorax_batch_scheduler.postgres.secret_store import PostgresSecretStore, Rotation
    from lorax_batch_scheduler.sealing.sealer import Sealer

commands = typer.Typer(no_args_is_help=True, rich_markup_mode=None)

ConfigOption = Annotated[Path | None, typer.Option(help="The TOML file with settings that the service has.")]
DataDirOption = Annotated[Path | None, typer.Option(help="The service's, where it has its own PostgreSQL.")]
KeyFileOption = Annotated[Path | None, typer.Option(help="The keys, the new one first.")]
_T = TypeVar("_T")


@commands.command("new-key")
def make_key() -> None:
    """Print a new key: put it into the file of secrets_key_file, as the first line to seal with it from now on."""
    from lorax_batch_scheduler.sealing.key_ring import new_key

    typer.echo(str(new_key()))


@commands.command()
def status(
    config: ConfigOption = None,
    data_dir: DataDirOption = None,
    secrets_key_file: KeyFileOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what each key has sealed, and whether it is there; ask the database, not the service."""
    counts, known, current = _with_store(_count, config, data_dir, secrets_key_file)
    rows = [(key_id or "(not sealed)", jobs, key_id in known, key_id == current) for key_id, jobs in counts.items()]
    if as_json:
        for key_id, jobs, is_there, is_current in rows:
            print_json({"key": key_id, "jobs": jobs, "known": is_there, "current": is_current})
    else:
        print_table(("KEY", "JOBS AND WEBHOOKS", "KNOWN HERE", "CURRENT"), rows)


@commands.command()
def rotate(
    config: ConfigOption = None,
    data_dir: DataDirOption = None,
    secrets_key_file: KeyFileOption = None,
    as_json: JsonOption = False,
) -> None:
    """Seal all tokens with the first key, while the service runs; ended half-way, the same command goes on."""
    done, current = _with_store(_rotate, config, data_dir, secrets_key_file)
    if as_json:
        print_json({"key": current, "sealed": done.sealed, "unreadable": done.unreadable})
    else:
        typer.echo(f"sealed the tokens of {done.sealed:,} jobs with {current}")
    if done.unreadable:
        raise CommandError(
            f"the tokens of {done.unreadable:,} jobs can't be read: `lorax-batch secrets status` shows which keys lack"
        )


async def _count(store: "PostgresSecretStore", sealer: "Sealer") -> tuple[Mapping[str, int], set[str], str | None]:
    counts = await store.counts()
    return counts, {key_id for key_id in counts if key_id and sealer.knows(key_id)}, sealer.current_key_id


async def _rotate(store: "PostgresSecretStore", sealer: "Sealer") -> "tuple[Rotation, str | None]":
    return await store.seal_anew(), sealer.current_key_id


def _with_store(
    use: "Callable[[PostgresSecretStore, Sealer], Awaitable[_T]]",
    config: Path | None,
    data_dir: Path | None,
    secrets_key_file: Path | None,
) -> _T:
    """Open the database that these settings name, and nothing else of the service."""
    import asyncpg
    from lorax_batch_scheduler.postgres.database import Database
    from lorax_batch_scheduler.postgres.embedded_address import embedded_dsn
    from lorax_batch_scheduler.postgres.secret_store import PostgresSecretStore
    from lorax_batch_scheduler.postgres.tls_dsn import with_tls

    from lorax_batch_server.data_directory import DataDirectory
    from lorax_batch_server.logs import set_up_logs
    from lorax_batch_server.secret_keys import given_keys, make_sealer
    from lorax_batch_server.settings import load_settings

    settings = load_settings(config, data_dir=data_dir, secrets_key_file=secrets_key_file)
    set_up_logs(level="warning", log_format=settings.log_format)
    directory = DataDirectory(settings.data_dir)

    async def run() -> _T:
        if settings.database_url is None:
            found = embedded_dsn(directory.postgres)
            if found is None:
                raise CommandError(
                    f"no service runs on '{settings.data_dir}', and its PostgreSQL runs with it: start `lorax-batch "
                    "serve` first, or name its data directory with --data-dir"
                )
            dsn = found
        else:
            dsn = with_tls(settings.database_url.get_secret_value(), settings.client_tls("database"))
        sealer = make_sealer(settings, given_keys(settings), directory)
        database = Database(dsn, max_connections=1)
        try:
            await database.open()
            return await use(PostgresSecretStore(database, sealer), sealer)
        except (asyncpg.UndefinedTableError, asyncpg.UndefinedColumnError) as error:
            raise CommandError("the database has an older schema: start the service of this version once") from error
        finally:
            await database.close()

    return asyncio.run(run())
