"""`lorax-batch migrate`: for deployments that bring the schema up to date before they start services."""

import typer

from lorax_batch_server.cli.own_stores import ConfigOption, DatabaseOption, own_settings
from lorax_batch_server.cli.reporting_group import CommandError


def migrate(config: ConfigOption = None, database_url: DatabaseOption = None) -> None:
    """Bring the schema of a PostgreSQL to this version's, as `serve` does when it starts; any number may at once."""
    import asyncio

    settings = own_settings(config, database_url=database_url)
    if settings.database_url is None:
        raise CommandError("no --database-url (LORAX_BATCH_DATABASE_URL): the embedded PostgreSQL migrates by itself")
    from lorax_batch_scheduler.postgres.tls_dsn import with_tls

    dsn = with_tls(settings.database_url.get_secret_value(), settings.client_tls("database"))
    versions = asyncio.run(_migrate(dsn))
    typer.echo(f"applied {', '.join(map(str, versions))}" if versions else "the schema is up to date")


async def _migrate(dsn: str) -> list[int]:
    from lorax_batch_scheduler.postgres.database import Database
    from lorax_batch_scheduler.postgres.migrations import migrate as apply

    database = Database(dsn)
    try:
        await database.open()
        async with database.connection() as connection:
            return await apply(connection)
    finally:
        await database.close()
