"""The database and the object store that settings name, without a service on them."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from lorax_batch_scheduler.errors import ConfigurationError
from lorax_batch_scheduler.objects.urls import open_object_store
from lorax_batch_scheduler.ports import ObjectStore
from lorax_batch_scheduler.postgres.embedded import EmbeddedPostgres
from lorax_batch_scheduler.postgres.embedded_address import embedded_dsn
from lorax_batch_scheduler.postgres.tls_dsn import with_tls

from lorax_batch_server.data_directory import DataDirectory
from lorax_batch_server.settings import Settings


@asynccontextmanager
async def open_places(settings: Settings, *, of_running_service: bool) -> AsyncIterator[tuple[str, ObjectStore]]:
    """Yield where the database is, and the object store. An embedded PostgreSQL is started if it does not run.

    With `of_running_service`, the embedded PostgreSQL may be that of a service that runs. Raises `ConfigurationError`.
    """
    directory = DataDirectory(settings.data_dir)
    async with AsyncExitStack() as stack:
        if settings.database_url is not None:
            dsn = with_tls(settings.database_url.get_secret_value(), settings.client_tls("database"))
        else:
            dsn = await _embedded(stack, directory, may_run=of_running_service)
        url = settings.object_store or str(directory.objects)
        objects = open_object_store(url, tls=settings.client_tls("object_store"))
        yield dsn, await stack.enter_async_context(objects)


async def _embedded(stack: AsyncExitStack, directory: DataDirectory, *, may_run: bool) -> str:
    if may_run and not directory.postgres.is_dir():
        raise ConfigurationError(
            f"'{directory.path}' holds no database: give the service's --data-dir, or its --database-url"
        )
    try:
        directory.open()
    except ConfigurationError:
        running = embedded_dsn(directory.postgres)
        if running is None or not may_run:
            raise
        return running
    stack.callback(directory.close)
    server = EmbeddedPostgres(directory.postgres)
    stack.push_async_callback(server.stop)
    return await server.start()
