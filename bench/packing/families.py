"""Ten families of traces, each drawn from a seed."""

import math
import random
from collections.abc import Callable
from typing import Final

from lorax_batch_scheduler.replay.trace import (
    VERSION,
    Failure,
    RowDistribution,
    Trace,
    TraceFamily,
    TraceJob,
    TraceModel,
    TraceSlot,
    TraceTenant,
)

GiB: Final = 1 << 30
MODELS: Final = {
    "mistral-7b": TraceModel(
        name="mistral-7b", parameters=7_241_732_096, weight_bytes=14_483_464_192, kv_bytes_per_token=131_072
    ),
    "llama-3-8b": TraceModel(
        name="llama-3-8b", parameters=8_030_261_248, weight_bytes=16_060_522_496, kv_bytes_per_token=131_072
    ),
    "llama-2-13b": TraceModel(
        name="llama-2-13b", parameters=13_015_864_320, weight_bytes=26_031_728_640, kv_bytes_per_token=819_200
    ),
    "phi-3-mini": TraceModel(
        name="phi-3-mini", parameters=3_821_079_552, weight_bytes=7_642_159_104, kv_bytes_per_token=393_216
    ),
    "llama-3-2-1b": TraceModel(
        name="llama-3-2-1b", parameters=1_235_814_400, weight_bytes=2_471_628_800, kv_bytes_per_token=32_768
    ),
}


def slots(count: int, kind: str = "a100-80", memory: int = 80, **fields: float) -> list[TraceSlot]:
    """Return GPUs of one kind, eight to a node."""
    return [
        TraceSlot(id=f"{kind}-{n}", kind=kind, memory_bytes=memory * GiB, node=f"{kind}-node{n // 8}", **fields)
        for n in range(count)
    ]


class Draw:
    """Jobs of one trace."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.jobs: list[TraceJob] = []

    def job(
        self,
        family: str,
        arrival: float,
        rows: int,
        *,
        tenant: str = "a",
        prompt: float = 400,
        output: float = 150,
        max_tokens: int = 512,
        adapters: tuple[str, ...] = (),
        zipf: float = 0.0,
        deadline: float | None = None,
        priority: int = 0,
    ) -> None:
        """Add a job."""
        drawn = RowDistribution(
            seed=self.chance.randrange(1 << 30),
            count=max(rows, 1),
            prompt_median=prompt,
            output_median=output,
            max_tokens=max_tokens,
            adapters=adapters,
            zipf=zipf,
        )
        self.jobs.append(
            TraceJob(
                id=f"job-{len(self.jobs):04d}",
                family=family,
                arrival_s=round(arrival, 3),
                tenant=tenant,
                priority=priority,
                deadline_s=deadline,
                drawn=drawn,
            )
        )

    def trace(self, name: str, gpus: list[TraceSlot], families: list[str], **fields: object) -> Trace:
        """Return the trace."""
        tenants = sorted({job.tenant for job in self.jobs})
        return Trace(
            version=VERSION,
            name=name,
            slots=gpus,
            models=[MODELS[name] for name in sorted(set(families))],
            families=[TraceFamily(id=family, model=family) for family in families],
            tenants=fields.pop("tenants", [TraceTenant(id=tenant) for tenant in tenants]),  # type: ignore[arg-type]
            jobs=self.jobs,
            **fields,  # type: ignore[arg-type]
        )

    def size(self, median: float, sigma: float) -> int:
        """Return a log-normal number of rows."""
        return round(self.chance.lognormvariate(math.log(median), sigma))


def zipf_adapters(seed: int) -> Trace:
    """Many adapters on one base model, few of them popular."""
    draw = Draw(seed)
    names = tuple(f"org/adapter-{n}" for n in range(800))
    for _ in range(24):
        draw.job(
            "mistral-7b", draw.chance.uniform(0, 1500), draw.size(5000, 0.5), adapters=names, zipf=1.0,
            tenant=draw.chance.choice("abc"),
        )  # fmt: skip
    return draw.trace("zipf_adapters", slots(8), ["mistral-7b"])


def small_and_huge(seed: int) -> Trace:
    """Many small jobs and a few huge ones."""
    draw = Draw(seed)
    for n in range(3):
        draw.job("mistral-7b", 30 * n, 60_000, tenant="huge")
    for _ in range(120):
        draw.job("mistral-7b", draw.chance.uniform(0, 1500), draw.size(120, 1.0), tenant=draw.chance.choice("abcd"))
    return draw.trace("small_and_huge", slots(8), ["mistral-7b"])


def mixed_models(seed: int) -> Trace:
    """Four base models that compete for slots."""
    draw = Draw(seed)
    families = ["mistral-7b", "llama-3-8b", "llama-2-13b", "phi-3-mini"]
    for _ in range(60):
        family = draw.chance.choices(families, [4, 3, 1, 2])[0]
        rows = draw.size(4500, 0.9) // (3 if family == "llama-2-13b" else 1)
        draw.job(family, draw.chance.uniform(0, 2400), rows, tenant=draw.chance.choice("abc"))
    return draw.trace("mixed_models", slots(10), families)


def tight_deadlines(seed: int) -> Trace:
    """Half of the jobs have deadlines, some of them near."""
    draw = Draw(seed)
    families = ["mistral-7b", "llama-3-8b"]
    for n in range(70):
        arrival, rows = draw.chance.uniform(0, 2000), draw.size(3500, 0.8)
        deadline = None
        if n % 2:
            deadline = round(arrival + 420 + rows * 0.04 * draw.chance.uniform(1.0, 3.0), 1)
        draw.job(draw.chance.choice(families), arrival, rows, tenant=draw.chance.choice("abc"), deadline=deadline)
    return draw.trace("tight_deadlines", slots(10), families)


def bursts(seed: int) -> Trace:
    """Nothing for a while, then many jobs at once."""
    draw = Draw(seed)
    families = ["mistral-7b", "llama-3-8b", "phi-3-mini"]
    for burst in range(5):
        for _ in range(18):
            draw.job(
                draw.chance.choice(families), 900 * burst + draw.chance.uniform(0, 20), draw.size(2200, 1.0),
                tenant=draw.chance.choice("abcd"),
            )  # fmt: skip
    return draw.trace("bursts", slots(8), families)


def unlike_gpus(seed: int) -> Trace:
    """Four kinds of GPU, one of them with a slow specimen that nobody told of."""
    draw = Draw(seed)
    families = ["mistral-7b", "llama-2-13b", "llama-3-2-1b"]
    gpus = [
        *slots(3, "h100-80", 80),
        *slots(3, "a100-80", 80),
        *slots(3, "l40s-48", 48),
        *slots(4, "a10g-24", 24),
    ]
    gpus.append(TraceSlot(id="a100-80-slow", kind="a100-80", memory_bytes=80 * GiB, node="slow", speed=0.5))
    for _ in range(60):
        family = draw.chance.choices(families, [4, 1, 2])[0]
        rows = {"mistral-7b": 5000, "llama-2-13b": 600, "llama-3-2-1b": 9000}[family]
        draw.job(family, draw.chance.uniform(0, 1800), draw.size(rows, 0.7), tenant=draw.chance.choice("abc"))
    return draw.trace("unlike_gpus", gpus, families)


def flooding_tenant(seed: int) -> Trace:
    """One tenant floods the queue; the others send a job now and then."""
    draw = Draw(seed)
    for _ in range(150):
        draw.job("mistral-7b", draw.chance.uniform(0, 200), draw.size(1200, 0.5), tenant="flood")
    for n in range(40):
        draw.job("mistral-7b", 60 * n, draw.size(600, 0.5), tenant="bcd"[n % 3])
    weights = [TraceTenant(id=tenant) for tenant in ("b", "c", "d", "flood")]
    return draw.trace("flooding_tenant", slots(8), ["mistral-7b"], tenants=weights)


def failing_servers(seed: int) -> Trace:
    """Slots that go away for minutes, again and again."""
    draw = Draw(seed)
    families = ["mistral-7b", "llama-3-8b"]
    for _ in range(60):
        draw.job(
            draw.chance.choice(families), draw.chance.uniform(0, 2000), draw.size(3500, 0.8),
            tenant=draw.chance.choice("ab"),
        )  # fmt: skip
    gpus = slots(8)
    failures = [
        Failure(
            slot=draw.chance.choice(gpus).id,
            time_s=round(draw.chance.uniform(200, 2400), 1),
            duration_s=round(draw.chance.uniform(60, 400), 1),
        )
        for _ in range(10)
    ]
    return draw.trace("failing_servers", gpus, families, failures=failures)


def day_rhythm(seed: int) -> Trace:
    """Quiet and busy hours, adapters, three tenants of unlike weight."""
    draw = Draw(seed)
    families = ["mistral-7b", "llama-3-8b", "llama-2-13b"]
    adapters = tuple(f"org/day-{n}" for n in range(60))
    time = 0.0
    while time < 7200:
        rate = 1 / 60 * (1 + 0.9 * math.sin(2 * math.pi * time / 7200 - math.pi / 2))
        time += draw.chance.expovariate(max(rate, 1 / 600))
        family = draw.chance.choices(families, [5, 3, 1])[0]
        rows = draw.size(3000, 1.0) // (3 if family == "llama-2-13b" else 1)
        draw.job(family, time, rows, tenant=draw.chance.choice("abc"), adapters=adapters, zipf=0.8)
    weights = [TraceTenant(id="a", weight=1), TraceTenant(id="b", weight=2), TraceTenant(id="c", weight=4)]
    return draw.trace("day_rhythm", slots(6), families, tenants=weights)


def small_models(seed: int) -> Trace:
    """Small models of which several fit on one GPU."""
    draw = Draw(seed)
    families = ["phi-3-mini", "llama-3-2-1b", "mistral-7b"]
    for _ in range(70):
        family = draw.chance.choices(families, [3, 4, 1])[0]
        rows = {"phi-3-mini": 1500, "llama-3-2-1b": 4000, "mistral-7b": 900}[family]
        draw.job(family, draw.chance.uniform(0, 1500), draw.size(rows, 0.9), tenant=draw.chance.choice("abc"))
    return draw.trace("small_models", slots(4), families)


FAMILIES: Final[dict[str, Callable[[int], Trace]]] = {
    make.__name__: make
    for make in (
        zipf_adapters,
        small_and_huge,
        mixed_models,
        tight_deadlines,
        bursts,
        unlike_gpus,
        flooding_tenant,
        failing_servers,
        day_rhythm,
        small_models,
    )
}
