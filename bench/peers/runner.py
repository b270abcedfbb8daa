"""Our hot path alone: one `ServerRunner` a server, and a sink that only counts."""

import asyncio
import math
import random
from collections.abc import Iterator

import structlog
import uvloop
from lorax_batch_scheduler.chunk import CHAT, Chunk
from lorax_batch_scheduler.clock import SystemClock
from lorax_batch_scheduler.dataset import ChunkKind
from lorax_batch_scheduler.fleet import Slot
from lorax_batch_scheduler.job import RowError
from lorax_batch_scheduler.lorax_servers import ServerProbe
from lorax_batch_scheduler.ports.lease import LeasedChunk
from lorax_batch_scheduler.running.runner import ServerRunner
from lorax_batch_scheduler.work import ChunkWork, RowOutcome

from bench.peers.measure import Load, Stopwatch, prompt, read_load

CHUNK_ROWS = 1_000


class CountingSink:
    """Takes results and forgets them."""

    def __init__(self, rows: int) -> None:
        self._left = rows
        self.done = asyncio.Event()
        self.failed = 0
        self.congested = False
        self.send_until = math.inf

    def add(
        self,
        lease: LeasedChunk,
        row: int,
        line: int,
        text: bytes,
        outcome: RowOutcome,
        prompt_tokens: int,
        completion_tokens: int,
        error: RowError | None = None,
    ) -> None:
        """Count a row."""
        self._left -= 1
        self.failed += error is not None
        if not self._left:
            self.done.set()


def chunks(rows: int) -> Iterator[ChunkWork]:
    """Make the rows, chunk by chunk, as they come out of the object store."""
    for number, first in enumerate(range(0, rows, CHUNK_ROWS)):
        lines = list(range(first, min(first + CHUNK_ROWS, rows)))
        tails = [
            b',"messages":[{"role":"user","content":"%s"}],"temperature":0.0}' % prompt(line).encode() for line in lines
        ]
        chunk = Chunk(
            endpoint=CHAT,
            model="",
            adapter_source="",
            lines=[line + 1 for line in lines],
            custom_ids=[b'"row-%d"' % line for line in lines],
            prompt_tokens=[110] * len(lines),
            max_tokens=[64] * len(lines),
            schemas=[0] * len(lines),
            tails=tails,
        )
        yield make_work("bench", number, chunk)


def make_work(job_id: str, number: int, chunk: Chunk) -> ChunkWork:
    """Wrap a chunk as if it had been leased."""
    count = len(chunk.lines)
    lease = LeasedChunk(
        job_id=job_id,
        chunk_no=number,
        epoch=1,
        kind=ChunkKind.ROWS,
        endpoint=chunk.endpoint,
        model=chunk.model,
        adapter_source="",
        row_count=count,
        done=0,
        pack_key="",
        offset=0,
        byte_count=0,
    )
    work = ChunkWork(
        lease=lease, chunk=chunk, adapter=chunk.model, authorization=None, default_max_tokens=64, adapter_source=""
    )
    work.waiting.extend(range(count))
    return work


async def main(load: Load) -> None:
    """Run all rows and report."""
    limits = [await ServerProbe(url).read_limits() for url in load.urls]
    supply = chunks(load.rows)
    sink = CountingSink(load.rows)
    runners: list[ServerRunner] = []

    def refill() -> None:
        for runner in runners:
            while runner.wants_work and (work := next(supply, None)) is not None:
                runner.give(work)

    for number, url in enumerate(load.urls):
        runners.append(
            ServerRunner(
                server_id=f"server-{number}",
                url=url,
                limits=limits[number],
                slot=Slot(slot_id=f"slot-{number}", kind="static", url=url, max_in_flight=load.in_flight),
                sink=sink,
                clock=SystemClock(),
                chance=random.Random(1),
                on_returned=lambda work: None,
                on_idle=refill,
                log=structlog.get_logger(),
            )
        )
    stopwatch = Stopwatch()
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(runner.run()) for runner in runners]
        refill()
        await sink.done.wait()
        stopwatch.report(load.rows, sink.failed)
        for task in tasks:
            task.cancel()


if __name__ == "__main__":
    uvloop.run(main(read_load()))
