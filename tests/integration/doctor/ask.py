"""Runs `lorax-batch doctor` in the test's own process."""

import asyncio
import json
from collections.abc import Mapping
from typing import Any

from lorax_batch_server.cli.application import application
from typer.testing import CliRunner

Found = dict[str, dict[str, Any]]


async def doctor(*arguments: object, environment: Mapping[str, str] | None = None) -> tuple[int, Found]:
    """Return the exit status, and the worst finding of each check."""
    texts = ["doctor", "--json", *map(str, arguments)]
    result = await asyncio.to_thread(CliRunner().invoke, application, texts, env=environment)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    found: Found = {}
    for finding in map(json.loads, result.stdout.splitlines()):
        before = found.get(finding["check"])
        if before is None or before["verdict"] == "ok" or finding["verdict"] == "error":
            found[finding["check"]] = finding
    return result.exit_code, found
