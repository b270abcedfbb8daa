"""How callers of the run reach the services: any of them, again and again until one answers."""

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from datetime import timedelta
from types import TracebackType
from typing import Final, Self, TypeVar

from lorax_batch_client import AsyncClient, ClientError
from lorax_batch_client.errors import TimedOutError
from lorax_batch_client.retry_policy import RetryPolicy

from tests.faults.chaos.findings import Findings

T = TypeVar("T")
CALL_S: Final = 8.0
"""A service may be frozen for so long."""
PATIENCE_S: Final = 120.0
PAUSE_S: Final = 0.1
RETRY: Final = RetryPolicy(
    longest_delay=timedelta(seconds=0.5), connect_for=timedelta(seconds=60), reconnect_for=timedelta(seconds=PATIENCE_S)
)


class NobodyAnswersError(Exception):
    """No service answered a call within the patience."""


class Door:
    """One client for each service."""

    def __init__(self, targets: list[str], findings: Findings) -> None:
        self._clients = [AsyncClient(target, timeout=timedelta(seconds=CALL_S), retry=RETRY) for target in targets]
        self._turns = itertools.cycle(self._clients)
        self._findings = findings
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        for client in self._clients:
            await self._stack.enter_async_context(client)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    def client(self, number: int) -> AsyncClient:
        """Return the client of one service, for what lasts: streams and uploads go on by themselves."""
        return self._clients[number % len(self._clients)]

    async def call(self, what: str, operation: Callable[[AsyncClient], Awaitable[T]]) -> T:
        """Return the answer of the first service that gives one.

        Raises:
            ClientError: what is final.
            NobodyAnswersError: nobody answered; that is a finding already.
        """
        give_up_at = time.monotonic() + PATIENCE_S
        while True:
            try:
                return await operation(next(self._turns))
            except ClientError as error:
                if not (error.transient or isinstance(error, TimedOutError)):
                    raise
                if time.monotonic() > give_up_at:
                    self._findings.add(f"nobody answered {what} within {PATIENCE_S:g} s: {error}")
                    raise NobodyAnswersError(what) from error
            await asyncio.sleep(PAUSE_S)
