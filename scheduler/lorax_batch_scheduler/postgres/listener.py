"""Wake-ups from PostgreSQL: one listening connection a process, which comes back by itself."""

import asyncio
import ssl
from collections.abc import Callable
from typing import Final

import asyncpg
import structlog

from lorax_batch_scheduler.failpoints import failpoint
from lorax_batch_scheduler.postgres.database import CONNECT_TIMEOUT_S

JOBS_CHANNEL: Final = "lorax_batch_jobs"
DATASETS_CHANNEL: Final = "lorax_batch_datasets"
FLEET_CHANNEL: Final = "lorax_batch_fleet"
ACCESS_CHANNEL: Final = "lorax_batch_access"
WEBHOOKS_CHANNEL: Final = "lorax_batch_webhooks"
CHECK_INTERVAL_S: Final = 10.0
"""How often the connection is asked whether it still lives: a network that swallows packets says nothing."""
RECONNECT_INTERVAL_S: Final = 0.5

_log = structlog.get_logger()

Hear = Callable[[str], None]


class Listener:
    """Calls listeners with the id that changed, and with "" when wake-ups may have been missed."""

    def __init__(self, dsn: str, *, tls: ssl.SSLContext | None = None) -> None:
        """`tls`: see `driver_tls`; None: as the DSN says."""
        self._dsn = dsn
        self._tls = tls
        channels = (JOBS_CHANNEL, DATASETS_CHANNEL, FLEET_CHANNEL, ACCESS_CHANNEL, WEBHOOKS_CHANNEL)
        self._hearers: dict[str, list[Hear]] = {channel: [] for channel in channels}

    def on_jobs(self, hear: Hear) -> Callable[[], None]:
        """Call `hear(job_id)` whenever a job changes; return what ends that."""
        return self._add(JOBS_CHANNEL, hear)

    def on_datasets(self, hear: Hear) -> Callable[[], None]:
        """Call `hear(dataset_id)` whenever a dataset changes; return what ends that."""
        return self._add(DATASETS_CHANNEL, hear)

    def on_fleet(self, hear: Hear) -> Callable[[], None]:
        """Call `hear(scheduler_id)` whenever its fleet changes, `hear("")` when a drain does; return what ends that."""
        return self._add(FLEET_CHANNEL, hear)

    def on_access(self, hear: Callable[[], None]) -> Callable[[], None]:
        """Call `hear()` whenever tenants or keys change; return what ends that."""
        return self._add(ACCESS_CHANNEL, lambda _: hear())

    def on_webhooks(self, hear: Hear) -> Callable[[], None]:
        """Call `hear(webhook_id)` whenever a webhook is made, changed or deleted; return what ends that."""
        return self._add(WEBHOOKS_CHANNEL, hear)

    async def run(self) -> None:
        """Listen until cancelled."""
        while True:
            try:
                await self._listen()
            except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
                _log.warning("listener_lost", error=repr(error))
            await asyncio.sleep(RECONNECT_INTERVAL_S)

    @failpoint(before="listen.before_connect")
    async def _listen(self) -> None:
        connection = await asyncpg.connect(
            self._dsn, ssl=self._tls, timeout=CONNECT_TIMEOUT_S, command_timeout=CONNECT_TIMEOUT_S
        )
        gone = asyncio.Event()
        connection.add_termination_listener(lambda _: gone.set())
        try:
            for channel in self._hearers:
                await connection.add_listener(channel, self._heard)
            for channel in self._hearers:
                self._tell(channel, "")
            while not gone.is_set():
                try:
                    async with asyncio.timeout(CHECK_INTERVAL_S):
                        await gone.wait()
                except TimeoutError:
                    await connection.fetchval("SELECT 1")
        finally:
            connection.terminate()

    def _heard(self, _connection: object, _pid: int, channel: str, payload: object) -> None:
        self._tell(channel, str(payload))

    def _tell(self, channel: str, payload: str) -> None:
        for hear in list(self._hearers[channel]):
            hear(payload)

    def _add(self, channel: str, hear: Hear) -> Callable[[], None]:
        hearers = self._hearers[channel]
        hearers.append(hear)
        return lambda: hearers.remove(hear) if hear in hearers else None
