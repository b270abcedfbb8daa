"""Whatever is sent to the service, it says what is wrong with it, and is as well afterwards as it was before."""

import asyncio
import re
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import grpc
import pytest
from google.protobuf.descriptor import MethodDescriptor
from lorax_batch_client import Client

from tests.end_to_end.conftest import _show_log as _show_log
from tests.end_to_end.conftest import client as client
from tests.end_to_end.conftest import serve as serve
from tests.end_to_end.conftest import service_directory as service_directory
from tests.end_to_end.job_story import MODEL, JobStory, check_counts, submit
from tests.end_to_end.poll import poll_until
from tests.end_to_end.rows import make_rows
from tests.fuzz.effort import SCALE, SEED
from tests.fuzz.rpc_calls import Caller
from tests.fuzz.rpc_messages import MessageMaker, methods
from tests.processes import Service, Simulator

pytestmark = pytest.mark.timeout(240 * SCALE)

WORKERS = 8
CALLS = 12 * SCALE
"""Of each method and worker."""
EACH = 15
"""Jobs in each state at the beginning."""
RARE = ("DeleteJob", "DeleteDataset", "DeleteWebhook")
"""Made four times less often, or there would soon be nothing left to call about."""
ROUNDS = 3
"""At most; a good first one is enough."""
MAX_GROWTH_BYTES = 24 << 20


SETTINGS = """\
metrics_port = 0
import_roots = ["/proc/self", "/usr/lib"]
webhook_networks = ["127.0.0.0/8"]
webhook_allow_http = true
"""


@pytest.fixture(scope="module")
def simulator() -> Iterator[Simulator]:
    with Simulator("--time-scale", "0.02") as simulator:
        yield simulator


@pytest.fixture(scope="module")
def service(serve: Callable[..., Service], simulator: Simulator) -> Service:
    return serve(simulator.url, settings=SETTINGS)


def undrain(client: Client) -> None:
    """Take back what was drained."""
    for slot in client.list_slots():
        client.undrain_slot(slot)


def seeded_names(client: Client) -> list[str]:
    """Return the names of a slot, a dataset and jobs to be fuzzed with: ended, paused, and waiting for ever."""
    undrain(client)
    dataset = submit(client, make_rows("fuzz", 30)).finish().dataset_id
    ended = [JobStory(client, client.create_job(dataset, base_model=MODEL)) for _ in range(EACH)]
    waiting = [client.create_job(dataset, base_model="llama-2-7b") for _ in range(2 * EACH)]
    paused = [client.pause_job(job) for job in waiting[:EACH]]
    slots = [slot.slot_id for slot in client.list_slots()]
    jobs = [*(job.finish().job_id for job in ended), *(job.job_id for job in (*waiting, *paused))]
    return [*slots, dataset, *jobs]


def seeded_webhooks(client: Client) -> list[str]:
    """Return the ids of new webhooks, in the place of all before; nobody listens where they lead."""
    for webhook in list(client.list_webhooks()):
        client.delete_webhook(webhook)
    return [client.create_webhook("http://127.0.0.1:9/").webhook.webhook_id for _ in range(EACH)]


async def fuzz(target: str, names: list[str], calls: int, seed: str) -> Counter[tuple[str, str]]:
    """Make so many calls of each method from each worker, and return how often each was answered with which code."""
    every: list[MethodDescriptor] = list(methods())
    # Each worker has its own connection and its own chance: which of them is faster decides nothing about the calls.
    callers = []

    async def work(number: int) -> None:
        chance = Random(f"{seed} {number}")
        async with grpc.aio.insecure_channel(target, options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
            caller = Caller(channel=channel, maker=MessageMaker(chance=chance, known=list(names)))
            callers.append(caller)
            order = [method for method in every for _ in range(calls // 4 if method.name in RARE else calls)]
            chance.shuffle(order)
            for method in order:
                await caller.call(method)

    async with asyncio.TaskGroup() as group:
        for number in range(WORKERS):
            group.create_task(work(number))
    return sum((caller.codes for caller in callers), Counter())


def resident_bytes(pid: int) -> int:
    """Return how much memory a process holds of its own."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"RssAnon:\s+(\d+) kB", status)[1]) * 1024  # type: ignore[index]


def open_files(pid: int) -> int:
    """Return how many files and sockets a process has open."""
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def open_calls(service: Service) -> dict[str, float]:
    """Return the calls and watches that the service takes for open."""
    port = re.search(r'"port": (\d+), "event": "metrics_listening"', service.log.read_text(encoding="utf-8"))
    assert port is not None
    with urllib.request.urlopen(f"http://localhost:{port[1]}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    found = re.findall(r"^(lorax_batch_grpc_open_calls\S*|lorax_batch_watchers) (\S+)$", text, re.MULTILINE)
    return {name: float(value) for name, value in found if float(value)}


def test_nothing_that_is_sent_breaks_the_service(service: Service, client: Client) -> None:
    names = seeded_names(client)
    names += seeded_webhooks(client)
    asyncio.run(fuzz(service.target, names, CALLS // 4, f"{SEED} warm-up"))
    files = poll_until(lambda: open_files(service.pid), lambda count: count < 200)
    codes: Counter[tuple[str, str]] = Counter()
    # What leaks grows in every round, and what can come through does so in one of them.
    for number in range(ROUNDS):
        names = [*(names if number == 0 else seeded_names(client)), *seeded_webhooks(client)]
        memory = resident_bytes(service.pid)
        codes += asyncio.run(fuzz(service.target, names, CALLS, f"{SEED}" if number == 0 else f"{SEED} {number}"))
        growth = resident_bytes(service.pid) - memory
        unanswered = {method.name for method in methods()} - {name for name, code in codes if code == "OK"} - NEVER_OK
        print(f"{sum(codes.values())} calls, {growth:,} bytes more, never came through: {unanswered}; {dict(codes)}")
        if growth < MAX_GROWTH_BYTES and not unanswered:
            break
    assert not unanswered, "these calls never came through"
    assert growth < MAX_GROWTH_BYTES
    assert poll_until(lambda: open_calls(service), lambda still: not still) == {}
    poll_until(lambda: open_files(service.pid), lambda count: count <= files + 3)
    log = service.log.read_text(encoding="utf-8")
    assert "Traceback" not in log
    assert [line for line in log.splitlines() if re.search(r'"level": "(error|critical)"', line)] == []
    for job in client.list_jobs():
        check_counts(job.counts)
    undrain(client)
    assert submit(client, make_rows("after", 20)).finish().counts.succeeded == 20


NEVER_OK = {
    *("ImportDataset", "CreateExport", "GetExport", "CreateDownloadLink"),
    *("CreateWebhook", "GetWebhook", "UpdateWebhook", "DeleteWebhook", "RotateWebhookSecret", "TestWebhook"),
    *("ListDeliveries", "RedeliverMessage"),
}
"""No path that the fuzz knows may be imported, no bucket exported to, and a directory has no links; it knows no URL,
and webhooks are few among all names: whether one of them comes through is chance."""
