"""The commands against a scripted service."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import pytest
from lorax_batch_server.cli.application import application
from typer.testing import CliRunner

from tests.integration.client.scripted_service import Service, start_service


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How a command ended and what it said."""

    exit_code: int
    stdout: str
    stderr: str

    @property
    def objects(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.stdout.splitlines()]


Command = Callable[..., Awaitable[Ended]]


@pytest.fixture
async def service() -> AsyncIterator[Service]:
    service = await start_service()
    yield service
    await service.server.stop(None)


@pytest.fixture
def command(service: Service) -> Command:
    """Run a command in this process, on a thread of its own."""

    async def run(*arguments: object, stdin: bytes | None = None) -> Ended:
        result = await asyncio.to_thread(
            CliRunner().invoke,
            application,
            [str(argument) for argument in arguments],
            input=stdin,
            env={"LORAX_BATCH_TARGET": service.target},
        )
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Ended(exit_code=result.exit_code, stdout=result.stdout, stderr=result.stderr)

    return run
