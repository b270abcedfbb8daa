"""One life of a service, to be killed: started with a directory, it prints the id and the URL of its server."""

import asyncio
import sys
from pathlib import Path

from lorax_batch_scheduler.ports.server_host import LaunchState

from tests.conformance.live_host import answering_model, running
from tests.conformance.server_host_cases import CommandCase
from tests.conformance.test_server_host import LAUNCH


async def _live(directory: Path) -> None:
    case = CommandCase(directory)
    async with running(case.open(), close=False) as live:
        server = await live.reaches(await live.host.start("gpu-0", LAUNCH), LaunchState.UP)
        await answering_model(server.url)
        sys.stdout.write(f"{server.server_id} {server.url}\n")
        sys.stdout.flush()
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_live(Path(sys.argv[1])))
