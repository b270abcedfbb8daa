"""Deletes objects that no row names: what a database restored from a backup has forgotten, and what bugs leave behind.

Crashes leave none: what gives objects up writes so in its transaction (`removals`). This looks through the whole store
now and then all the same. An object goes when no row named it at two looks that are `grace` apart, on the database's
clock: stores' clocks and their ages of objects and uploads count for nothing.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

import structlog

from lorax_batch_scheduler.clock import Clock
from lorax_batch_scheduler.errors import ConfigurationError, DatabaseError, ObjectNotFoundError, ObjectStoreError
from lorax_batch_scheduler.failpoints import failpoint
from lorax_batch_scheduler.object_names import OWNED_PREFIXES, OWNER_KEY
from lorax_batch_scheduler.ports import ObjectStore
from lorax_batch_scheduler.ports.collection_store import CollectionStore, StoredObject, UnnamedObject

POLL_INTERVAL_S: Final = 60.0
"""How often a process looks whether a pass is due."""
LEASE: Final = timedelta(minutes=5)
"""How long a process may take for one page before others take its pass over."""
PAGE_OBJECTS: Final = 500
PAGE_PAUSE_S: Final = 0.1
"""Between two pages: a million objects take the better part of an hour and no notice."""

_log = structlog.get_logger(__name__)


class ForeignStoreError(ConfigurationError):
    """The objects of the store are named by another database."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectorSettings:
    """How often to look, and how long to wait."""

    interval: timedelta = timedelta(hours=6)
    grace: timedelta = timedelta(hours=24)


class Collector:
    """Looks through the store. Of any number of processes one does so at a time."""

    def __init__(
        self,
        store: CollectionStore,
        objects: ObjectStore,
        *,
        clock: Clock,
        new_id: Callable[[], str],
        settings: CollectorSettings | None = None,
    ) -> None:
        self._store = store
        self._objects = objects
        self._clock = clock
        self._settings = settings or CollectorSettings()
        self._holder = f"collector-{new_id()}"

    async def run(self) -> None:
        """Carry out the passes that are due, until cancelled."""
        while True:
            try:
                await self.collect()
            except (DatabaseError, ObjectStoreError) as error:
                _log.warning("collection_delayed", error=str(error))
            except ForeignStoreError as error:
                _log.error("collection_refused", error=str(error))
            await self._clock.sleep(POLL_INTERVAL_S)

    async def collect(self, *, at_once: bool = False) -> int | None:
        """Carry out a pass, or what is left of one; return how much was deleted. None: nothing to do, or taken over.

        Raises:
            ForeignStoreError: the store is another database's; nothing was touched.
        """
        begun = await self._store.claim_pass(self._holder, lease=LEASE, at_once=at_once)
        if begun is None:
            return None
        try:
            await self._own(begun.database_id)
            deleted = await self._pass(begun.cursor)
        except ForeignStoreError:
            await self._store.end_pass(self._holder, next_in=self._settings.interval)
            raise
        except BaseException:
            await self._store.release_pass(self._holder)
            raise
        if deleted is not None:
            await self._store.end_pass(self._holder, next_in=self._settings.interval)
            _log.info("collection_ended", deleted=deleted)
        return deleted

    async def unnamed(self) -> AsyncIterator[UnnamedObject]:
        """Yield what no row names now, and since when that is known; changes nothing.

        Raises:
            ForeignStoreError: the store is another database's.
        """
        owner = await self._owner()
        if owner is not None:
            self._check_owner(owner, await self._store.database_id())
        for found in await self._store.unnamed(await self._uploads()):
            yield found
        async for page in self._pages(""):
            for found in await self._store.unnamed(page):
                yield found

    async def claim_store(self) -> None:
        """Mark the store as this database's, whatever the mark says now."""
        await self._objects.put(OWNER_KEY, (await self._store.database_id()).encode())

    async def _own(self, database_id: str) -> None:
        """Make sure that it is this database which names the objects."""
        owner = await self._owner()
        if owner is None:
            page: list[StoredObject] = await anext(self._pages(""), [])
            if page and len(await self._store.unnamed(page)) == len(page):
                raise ForeignStoreError(
                    f"{self._objects!r} has objects, and no row of this database names the first {len(page)} of them: "
                    "nothing is deleted there. If it is this database's, say so: lorax-batch store claim"
                )
            await self._objects.create(OWNER_KEY, database_id.encode())
            owner = await self._owner()
        self._check_owner(owner or database_id, database_id)

    def _check_owner(self, owner: str, database_id: str) -> None:
        if owner != database_id:
            raise ForeignStoreError(
                f"{self._objects!r} belongs to database {owner}, but this one is {database_id}: nothing is deleted "
                "there. Give each database a prefix of its own; or, if that one is gone: lorax-batch store claim"
            )

    async def _owner(self) -> str | None:
        try:
            return (await self._objects.get(OWNER_KEY)).decode(errors="replace")
        except ObjectNotFoundError:
            return None

    async def _pass(self, cursor: str) -> int | None:
        deleted = await self._look_at(await self._uploads())
        async for page in self._pages(cursor):
            deleted += await self._look_at(page)
            if not await self._advance(page[-1].key):
                return None
            await self._clock.sleep(PAGE_PAUSE_S)
        return deleted

    async def _look_at(self, stored: list[StoredObject]) -> int:
        """Delete what was seen without a name for long enough, and note the rest of what has none."""
        unnamed = await self._store.unnamed(stored)
        noted = await self._store.note_unnamed(unnamed, grace=self._settings.grace)
        due = [each for each in noted if each.due]
        if due:
            await self._delete(due)
            await self._store.forget_unnamed(due)
            _log.info("objects_collected", count=len(due), first=due[0].key)
        return len(due)

    @failpoint(before="collect.before_advance")
    async def _advance(self, cursor: str) -> bool:
        return await self._store.advance_pass(self._holder, cursor=cursor, lease=LEASE)

    @failpoint(before="collect.before_delete", after="collect.after_delete")
    async def _delete(self, due: list[UnnamedObject]) -> None:
        for each in due:
            if each.upload_id:
                await self._objects.abort_upload(each.key, each.upload_id)
            else:
                await self._objects.delete(each.key)

    async def _uploads(self) -> list[StoredObject]:
        """Return the unfinished uploads."""
        return [
            StoredObject(key=upload.key, upload_id=upload.upload_id)
            for prefix in OWNED_PREFIXES
            for upload in await self._objects.unfinished_uploads(prefix)
        ]

    async def _pages(self, cursor: str) -> AsyncGenerator[list[StoredObject]]:
        """Yield the objects that lie where a service writes, in key order."""
        page: list[StoredObject] = []
        for prefix in OWNED_PREFIXES:
            async for info in self._objects.scan(prefix, after=cursor):
                page.append(StoredObject(key=info.key, size_bytes=info.size_bytes))
                if len(page) == PAGE_OBJECTS:
                    yield page
                    page = []
        if page:
            yield page
