"""Simulated servers in the test's own event loop, spoken to over real HTTP."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest
from lorax_simulator.app import App
from lorax_simulator.journal import Logs
from lorax_simulator.options import parser

MODEL = "mistralai/Mistral-7B-Instruct-v0.2"


@dataclass(frozen=True, slots=True)
class Answer:
    """One HTTP answer, read whole."""

    status: int
    headers: Any
    text: str

    @property
    def json(self) -> Any:
        return json.loads(self.text)

    @property
    def events(self) -> list[str]:
        return [line.removeprefix("data: ") for line in self.text.split("\n\n") if line]


@dataclass(frozen=True, slots=True)
class Simulator:
    """A running simulator and a session to it."""

    app: App
    session: aiohttp.ClientSession

    async def get(self, path: str, **options: Any) -> Answer:
        return await self._read(self.session.get(path, **options))

    async def post(self, path: str, body: object = None, **options: Any) -> Answer:
        if body is not None:
            options["json"] = body
        return await self._read(self.session.post(path, **options))

    async def chat(self, content: str = "hello", **fields: Any) -> Answer:
        return await self.post("/v1/chat/completions", chat_body(content, **fields))

    async def stats(self) -> Any:
        return (await self.get("/_simulator/stats")).json

    async def _read(self, call: Any) -> Answer:
        async with call as response:
            return Answer(response.status, response.headers, await response.text())


def chat_body(content: str = "hello", **fields: Any) -> dict[str, Any]:
    """Return a small chat row."""
    return {"model": "", "messages": [{"role": "user", "content": content}], "max_tokens": 20} | fields


@asynccontextmanager
async def simulated(*arguments: str) -> AsyncIterator[Simulator]:
    """Run a simulator for as long as the block lasts; it takes no time unless told otherwise."""
    parsed = parser().parse_args(["--port", "0", "--grace", "0.2", "--time-scale", "0", *arguments])
    app = App(parsed, Logs())
    async with asyncio.timeout(30), asyncio.TaskGroup() as group:
        task = group.create_task(app.run())
        await app.listening.wait()
        try:
            connector = aiohttp.TCPConnector(limit=0)
            async with aiohttp.ClientSession(app.url, connector=connector) as session:
                yield Simulator(app, session)
        finally:
            # Waited for here: a failing test would have the group cancel it, and uvloop never closes what is cut off.
            app.stop()
            await task


@pytest.fixture
async def simulate() -> AsyncIterator[Callable[..., Awaitable[Simulator]]]:
    """Start simulators with command-line arguments; they stop with the test."""
    async with AsyncExitStack() as stack:

        async def start(*arguments: str) -> Simulator:
            return await stack.enter_async_context(simulated(*arguments))

        yield start
