"""A bare aiohttp loop: one session, workers that take the next row, the reply parsed, no state kept."""

import asyncio
import itertools
import json

import aiohttp

from bench.peers.measure import Load, Stopwatch, prompt, read_load


async def main(load: Load) -> None:
    """Run all rows and report."""
    numbers = iter(range(load.rows))
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as session:
        stopwatch = Stopwatch()

        async def work(url: str) -> None:
            for number in numbers:
                body = {
                    "model": "",
                    "messages": [{"role": "user", "content": prompt(number)}],
                    "max_tokens": 64,
                    "temperature": 0.0,
                }
                async with session.post(f"{url}/v1/chat/completions", json=body) as response:
                    json.loads(await response.read())["usage"]["completion_tokens"]

        async with asyncio.TaskGroup() as group:
            for url in itertools.chain.from_iterable([url] * load.in_flight for url in load.urls):
                group.create_task(work(url))
        stopwatch.report(load.rows)


if __name__ == "__main__":
    try:
        import uvloop
    except ImportError:
        asyncio.run(main(read_load()))
    else:
        uvloop.run(main(read_load()))
