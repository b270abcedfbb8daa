"""The connections of one server: opened when they are needed, up to as many as there may be rows in flight."""

import asyncio
import random
from collections.abc import Callable

from lorax_batch_scheduler.clock import Clock
from lorax_batch_scheduler.lorax_servers.address import ServerAddress
from lorax_batch_scheduler.lorax_servers.connection import Connection, WireFault
from lorax_batch_scheduler.tls.client_tls import ClientTls
from lorax_batch_scheduler.tls.trouble import with_advice

CONNECT_TIMEOUT_S = 10.0
MAX_OPENING = 32
"""Connections opened at the same time: a listen backlog is often 128, and others use the server too."""
FIRST_BACK_OFF_S = 0.1
MAX_BACK_OFF_S = 5.0


class ConnectionPool:
    """Keeps connections to one address. All methods but `run` are synchronous; nothing opens unless `run` runs."""

    def __init__(
        self,
        address: ServerAddress,
        *,
        clock: Clock,
        chance: random.Random,
        on_answer: Callable[[Connection, int, bytes], None],
        on_lost: Callable[[Connection, WireFault, str], None],
        on_available: Callable[[], None],
        on_refused: Callable[[str], None],
        tls: ClientTls | None = None,
    ) -> None:
        """`tls`: how servers with https are reached; None: by the authorities of this machine."""
        self._address = address
        self._clock = clock
        self._chance = chance
        self._on_answer = on_answer
        self._on_row_lost = on_lost
        self._on_available = on_available
        self._on_refused = on_refused
        self._tls = (tls or ClientTls()) if address.tls else None
        self._open: set[Connection] = set()
        self._opening = 0
        self._target = 0
        self._not_before = 0.0
        self._back_off_s = 0.0
        self._wake = asyncio.Event()
        self.idle: list[Connection] = []
        """Connections to send on; the last used is the last of the list, so that the others grow old and close."""

    def __repr__(self) -> str:
        return (
            f"<ConnectionPool {self._address.host}:{self._address.port} open={len(self._open)} idle={len(self.idle)}>"
        )

    @property
    def open_count(self) -> int:
        """Connections that are made."""
        return len(self._open)

    @property
    def connections(self) -> list[Connection]:
        """The connections that are made, in no order."""
        return list(self._open)

    def want(self, count: int) -> None:
        """Ask for so many connections altogether; `on_available` is called as each of them is made."""
        self._target = count
        if len(self._open) + self._opening < count and self._clock.monotonic() >= self._not_before:
            self._wake.set()

    def release(self, connection: Connection) -> None:
        """Take a connection back whose answer is there, to send on it again or to forget it."""
        if connection.reusable:
            self.idle.append(connection)
        else:
            self.discard(connection)

    def discard(self, connection: Connection) -> None:
        """Close a connection, whatever it is doing."""
        self._open.discard(connection)
        connection.close()

    def close(self) -> None:
        """Close all connections; answers still to come are lost."""
        self._target = 0
        for connection in self._open:
            connection.close()
        self._open.clear()
        self.idle.clear()

    async def run(self) -> None:
        """Open the connections that are wanted, until cancelled; then close all."""
        try:
            async with asyncio.TaskGroup() as openers:
                while True:
                    await self._wake.wait()
                    self._wake.clear()
                    missing = min(self._target - len(self._open) - self._opening, MAX_OPENING - self._opening)
                    for _ in range(missing):
                        self._opening += 1
                        openers.create_task(self._open_one())
        finally:
            self.close()

    async def _open_one(self) -> None:
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                _, connection = await asyncio.get_running_loop().create_connection(
                    lambda: Connection(self._on_answer, self._lost),
                    self._address.host,
                    self._address.port,
                    ssl=self._tls.context() if self._tls is not None else None,
                    server_hostname=self._address.host if self._tls is not None else None,
                )
        except (OSError, TimeoutError) as error:
            self._refuse(
                with_advice(str(error) or f"no connection within {CONNECT_TIMEOUT_S:g} s", error, prefix="server")
            )
            return
        finally:
            self._opening -= 1
        if connection.reusable and len(self._open) < self._target:
            self._back_off_s = 0.0
            self._open.add(connection)
            self.idle.append(connection)
            self.want(self._target)
            self._on_available()
        else:
            connection.close()
            if len(self._open) < self._target:
                self._refuse("the server closed the connection at once")

    def _refuse(self, detail: str) -> None:
        if self._clock.monotonic() < self._not_before:
            return  # one of many that were opened together and failed together
        self._back_off_s = min(MAX_BACK_OFF_S, self._back_off_s * 2 or FIRST_BACK_OFF_S)
        self._not_before = self._clock.monotonic() + self._back_off_s * self._chance.uniform(0.5, 1.0)
        self._on_refused(detail)

    def _lost(self, connection: Connection, fault: WireFault, detail: str) -> None:
        if connection not in self._open:
            return
        self._open.discard(connection)
        if connection in self.idle:
            self.idle.remove(connection)
        if connection.exchange is not None:
            self._on_row_lost(connection, fault, detail)
