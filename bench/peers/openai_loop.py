"""The loop that users of the OpenAI SDK write: `AsyncOpenAI`, a semaphore, and gather."""

import asyncio

import openai

from bench.peers.measure import Load, Stopwatch, prompt, read_load


async def main(load: Load) -> None:
    """Run all rows and report."""
    client = openai.AsyncOpenAI(base_url=f"{load.urls[0]}/v1", api_key="none", max_retries=0)
    semaphore = asyncio.Semaphore(load.in_flight)

    async def run_row(number: int) -> str:
        async with semaphore:
            answer = await client.chat.completions.create(
                model="", messages=[{"role": "user", "content": prompt(number)}], max_tokens=64, temperature=0.0
            )
            return answer.model_dump_json()

    stopwatch = Stopwatch()
    await asyncio.gather(*[run_row(number) for number in range(load.rows)])
    stopwatch.report(load.rows)


if __name__ == "__main__":
    asyncio.run(main(read_load()))
