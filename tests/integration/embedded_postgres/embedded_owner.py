"""A program that owns an embedded PostgreSQL, for tests that kill it: `embedded_owner.py STATE_DIR`.

Prints one JSON object when PostgreSQL is ready (or why it is not), and ends when its input does.
"""

import asyncio
import json
import os
import sys
from pathlib import Path

from lorax_batch_scheduler.errors import LoraxBatchError
from lorax_batch_scheduler.postgres.embedded import BATCH_SETTINGS, EmbeddedPostgres


async def main(state: Path) -> None:
    server = EmbeddedPostgres(state, settings={**BATCH_SETTINGS, "shared_buffers": "32MB"})
    try:
        dsn = await server.start()
    except LoraxBatchError as error:
        say({"error": type(error).__name__, "message": str(error)})
        await asyncio.to_thread(sys.stdin.read)
        return
    say({"dsn": dsn, "guard": server.guard_pid, "postgres": server.postgres_pid})
    await asyncio.to_thread(sys.stdin.read)
    await server.stop()


def say(facts: dict[str, object]) -> None:
    sys.stdout.write(json.dumps({**facts, "pid": os.getpid()}) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
