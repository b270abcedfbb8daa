"""A host whose servers answer."""

from pathlib import Path

import aiohttp
from lorax_batch_scheduler.ports.server_host import LaunchState

from tests.kubernetes.cluster import launch
from tests.kubernetes.simulated_fleet import simulated_fleet


async def test_a_server_answers_with_its_model_and_ends_with_its_objects(tmp_path: Path) -> None:
    async with simulated_fleet(tmp_path) as fleet, fleet.cluster.life(fleet.host()) as host:
        server_id = await host.start("a100-0", launch(model="org/another-model"))
        server = await fleet.cluster.until_state(host, server_id, LaunchState.UP)
        async with aiohttp.ClientSession() as session, session.get(f"{server.url}/info") as answer:
            assert (await answer.json())["model_id"] == "org/another-model"
        await fleet.crash(server, "out of memory")
        server = await fleet.cluster.until_state(host, server_id, LaunchState.GONE)
        assert server.log_tail == ("out of memory",)
        assert fleet.is_empty
