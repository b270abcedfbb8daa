"""The `stop` and `cleanup` commands of templates."""

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from typing import Final

_SHOWN_CHARACTERS: Final = 300


async def run_helper(command: Sequence[str], environment: Mapping[str, str], *, timeout_s: float) -> str:
    """Run it to its end; return "" when it went well, else what went wrong. Ends with whoever waits for it."""
    try:
        process = await asyncio.create_subprocess_exec(
            *command,
            env=environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
    except OSError as error:
        return f"{command[0]}: {error.strerror}"
    try:
        async with asyncio.timeout(timeout_s):
            _, said = await process.communicate()
    except TimeoutError:
        return f"{command[0]} did not end within {timeout_s:g} s"
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    if process.returncode == 0:
        return ""
    return f"{command[0]} ended with status {process.returncode}: {said.decode(errors='replace')[-_SHOWN_CHARACTERS:]}"
