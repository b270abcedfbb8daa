"""A scripted service, and one client of each flavour on it."""

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest
from lorax_batch_client import AsyncClient, Client, RetryPolicy

from tests.integration.client.scripted_service import Service, start_service

IMPATIENT = RetryPolicy(
    first_delay=timedelta(milliseconds=1),
    longest_delay=timedelta(milliseconds=1),
    connect_for=timedelta(),
    reconnect_for=timedelta(seconds=20),
)


PERSISTENT = dataclasses.replace(IMPATIENT, connect_for=timedelta(seconds=20))


@pytest.fixture
async def service() -> AsyncIterator[Service]:
    service = await start_service()
    yield service
    await service.server.stop(None)


class Caller:
    """Calls either flavour alike: an answer for a call, a list for an iteration."""

    def __init__(self, target: str, kind: str, retry: RetryPolicy = IMPATIENT) -> None:
        self.client: Any = AsyncClient(target, retry=retry) if kind == "aio" else Client(target, retry=retry)
        self.is_async = kind == "aio"

    async def ask(self, name: str, /, *args: Any, **kwargs: Any) -> Any:
        method: Callable[..., Any] = getattr(self.client, name)
        if self.is_async:
            answer: Awaitable[Any] = method(*args, **kwargs)
            return await answer
        return await asyncio.to_thread(method, *args, **kwargs)

    async def collect(self, name: str, /, *args: Any, **kwargs: Any) -> list[Any]:
        method: Callable[..., Any] = getattr(self.client, name)
        if self.is_async:
            return [one async for one in method(*args, **kwargs)]
        return await asyncio.to_thread(lambda: list(method(*args, **kwargs)))

    async def close(self) -> None:
        if self.is_async:
            await self.client.close()
        else:
            await asyncio.to_thread(self.client.close)


@pytest.fixture(params=["aio", "sync"])
async def caller(service: Service, request: pytest.FixtureRequest) -> AsyncIterator[Caller]:
    caller = Caller(service.target, request.param)
    yield caller
    await caller.close()
