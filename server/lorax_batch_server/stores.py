"""Where everything is kept: opened before the parts of a service are made, closed after them."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import structlog
from lorax_batch_scheduler.clock import DatabaseClock
from lorax_batch_scheduler.errors import ConfigurationError, DatabaseError, ObjectStoreError
from lorax_batch_scheduler.failpoints import failpoint
from lorax_batch_scheduler.objects.caller_buckets import S3CallerBuckets
from lorax_batch_scheduler.objects.counted import CountedObjectStore
from lorax_batch_scheduler.objects.s3_location import parse_s3_location
from lorax_batch_scheduler.objects.urls import open_object_store
from lorax_batch_scheduler.ports import ObjectStore
from lorax_batch_scheduler.ports.caller_buckets import CallerBuckets
from lorax_batch_scheduler.postgres.access_store import PostgresAccessStore
from lorax_batch_scheduler.postgres.collection_store import PostgresCollectionStore
from lorax_batch_scheduler.postgres.database import Database
from lorax_batch_scheduler.postgres.database_watch import database_time
from lorax_batch_scheduler.postgres.dataset_store import PostgresDatasetStore
from lorax_batch_scheduler.postgres.delivery_store import PostgresDeliveryStore
from lorax_batch_scheduler.postgres.driver_tls import driver_tls
from lorax_batch_scheduler.postgres.export_store import PostgresExportStore
from lorax_batch_scheduler.postgres.fleet_store import PostgresFleetStore
from lorax_batch_scheduler.postgres.job_store import PostgresJobStore
from lorax_batch_scheduler.postgres.learned_store import PostgresLearnedStore
from lorax_batch_scheduler.postgres.lease_store import PostgresLeaseStore
from lorax_batch_scheduler.postgres.listener import Listener
from lorax_batch_scheduler.postgres.migrations import migrate
from lorax_batch_scheduler.postgres.planning_turns import PostgresPlanningTurns
from lorax_batch_scheduler.postgres.removal_store import PostgresRemovalStore
from lorax_batch_scheduler.postgres.result_store import PostgresResultStore
from lorax_batch_scheduler.postgres.retention_store import PostgresRetentionStore
from lorax_batch_scheduler.postgres.rights import check_rights
from lorax_batch_scheduler.postgres.secret_store import PostgresSecretStore
from lorax_batch_scheduler.postgres.tenant_removal_store import PostgresTenantRemovalStore
from lorax_batch_scheduler.postgres.tls_dsn import with_tls
from lorax_batch_scheduler.postgres.webhook_store import PostgresWebhookStore
from lorax_batch_scheduler.telemetry.object_calls import ObjectCalls

from lorax_batch_server.data_directory import DataDirectory
from lorax_batch_server.embedded_database import EmbeddedDatabase
from lorax_batch_server.secret_keys import given_keys, look_after_secrets, make_sealer
from lorax_batch_server.settings import Settings

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stores:
    """Where everything is kept."""

    directory: DataDirectory | None
    """None: a process that runs no jobs keeps nothing on this machine."""
    objects: ObjectStore
    object_calls: ObjectCalls
    buckets: CallerBuckets
    """Those of callers."""
    database: Database
    clock: DatabaseClock
    listener: Listener
    embedded: EmbeddedDatabase | None
    datasets: PostgresDatasetStore
    jobs: PostgresJobStore
    leases: PostgresLeaseStore
    results: PostgresResultStore
    removals: PostgresRemovalStore
    collections: PostgresCollectionStore
    exports: PostgresExportStore
    retention: PostgresRetentionStore
    tenant_removals: PostgresTenantRemovalStore
    fleet: PostgresFleetStore
    learned: PostgresLearnedStore
    planning_turns: PostgresPlanningTurns
    access: PostgresAccessStore
    webhooks: PostgresWebhookStore
    deliveries: PostgresDeliveryStore


@asynccontextmanager
async def open_stores(settings: Settings) -> AsyncIterator[Stores]:
    """Own the data directory, start PostgreSQL when it is the embedded one, and bring its schema up to date."""
    keys = given_keys(settings)
    async with AsyncExitStack() as stack:
        directory = None
        if settings.role.runs_jobs:
            directory = DataDirectory(settings.data_dir)
            directory.open()
            stack.callback(directory.close)
        sealer = make_sealer(settings, keys, directory)
        object_calls = ObjectCalls()
        objects = CountedObjectStore(await _open_objects(stack, settings, directory), object_calls)
        buckets = caller_buckets(settings)
        embedded = None
        if settings.database_url is not None:
            dsn = with_tls(settings.database_url.get_secret_value(), settings.client_tls("database"))
        else:
            assert directory is not None, "only a role that runs jobs goes without --database-url"
            embedded = EmbeddedDatabase(directory.postgres)
            stack.push_async_callback(embedded.stop)
            dsn = await embedded.start()
        tls = driver_tls(dsn)
        database, clock = await _open_database(stack, Database(dsn, tls=tls))
        secrets = PostgresSecretStore(database, sealer)
        await look_after_secrets(secrets, sealer)
        listener = Listener(dsn, tls=tls)
        yield Stores(
            directory=directory,
            objects=objects,
            object_calls=object_calls,
            buckets=buckets,
            database=database,
            clock=clock,
            listener=listener,
            embedded=embedded,
            datasets=PostgresDatasetStore(database, listener),
            jobs=PostgresJobStore(database, listener, secrets),
            leases=PostgresLeaseStore(database),
            results=PostgresResultStore(database),
            removals=PostgresRemovalStore(database),
            collections=PostgresCollectionStore(database),
            exports=PostgresExportStore(database),
            retention=PostgresRetentionStore(database),
            tenant_removals=PostgresTenantRemovalStore(database),
            fleet=PostgresFleetStore(database, listener),
            learned=PostgresLearnedStore(database),
            planning_turns=PostgresPlanningTurns(database),
            access=PostgresAccessStore(database, listener),
            webhooks=PostgresWebhookStore(database, sealer),
            deliveries=PostgresDeliveryStore(database, listener, sealer),
        )


def caller_buckets(settings: Settings) -> S3CallerBuckets:
    """Return callers' buckets as the settings allow them. Raises `ConfigurationError`."""
    url = settings.object_store or ""
    return S3CallerBuckets(
        imports=settings.import_buckets,
        exports=settings.export_buckets,
        own=parse_s3_location(url, what="object store") if url.startswith("s3://") else None,
        tls=settings.client_tls("object_store"),
        others_tls=settings.client_tls("bucket"),
    )


async def _open_objects(stack: AsyncExitStack, settings: Settings, directory: DataDirectory | None) -> ObjectStore:
    url = settings.object_store
    if url is None:
        assert directory is not None, "only a role that runs jobs goes without --object-store"
        url = str(directory.objects)
    try:
        return await stack.enter_async_context(open_object_store(url, tls=settings.client_tls("object_store")))
    except (ConfigurationError, ObjectStoreError) as error:
        raise ConfigurationError(f"{error}; check --object-store (LORAX_BATCH_OBJECT_STORE)") from error


@failpoint(before="start.before_database", after="start.after_database")
async def _open_database(stack: AsyncExitStack, database: Database) -> tuple[Database, DatabaseClock]:
    # Closed also when opening is given up half-way.
    stack.push_async_callback(database.close)
    await database.open()
    try:
        async with database.connection() as connection:
            applied = await migrate(connection)
            await check_rights(connection)
            clock = DatabaseClock(await database_time(connection))
    except DatabaseError as error:
        raise ConfigurationError(
            f"{error}: the PostgreSQL of --database-url (LORAX_BATCH_DATABASE_URL) must answer and take writes when "
            "the service starts"
        ) from error
    if applied:
        _log.info("schema_migrated", versions=applied)
    return database, clock
