"""lorax-client with a semaphore, on the native endpoint: it knows no chat completions."""

import asyncio

from lorax import AsyncClient

from bench.peers.measure import Load, Stopwatch, prompt, read_load


async def main(load: Load) -> None:
    """Run all rows and report."""
    client = AsyncClient(load.urls[0])
    semaphore = asyncio.Semaphore(load.in_flight)

    async def run_row(number: int) -> None:
        async with semaphore:
            await client.generate(prompt(number), max_new_tokens=64)

    stopwatch = Stopwatch()
    await asyncio.gather(*[run_row(number) for number in range(load.rows)])
    stopwatch.report(load.rows)


if __name__ == "__main__":
    asyncio.run(main(read_load()))
