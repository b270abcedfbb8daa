"""`make bench`: what a row costs us, beside what it costs others, in one interleaved run of about three minutes.

Trust the CPU time a row and the ratios; wall rates swing with whatever else the machine does.
"""

import json
import os
import platform
import statistics
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.contestants import Contestant, Measurement, peer, wrk
from bench.instant import build, instant_server
from bench.service import ServiceMeasurement, bench_service, write_dataset

ROUNDS = 3
IN_FLIGHT = 256
PACED_SERVERS = 16
PACED_IN_FLIGHT = 64
PACED_DELAY_MS = 200
MEMORY_IN_FLIGHT = 1_024
MEMORY_ROWS = (100_000, 1_000_000)
OURS = "lorax-batch service"
RESULTS = Path(__file__).parent / "results.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Contestants that are compared under one load."""

    name: str
    title: str
    contestants: list[Contestant]
    servers: int = 1
    delay_ms: int = 0


def events(folder: Path, figures: dict[str, list[ServiceMeasurement]]) -> list[Event]:
    """Return what is measured; what only the service can tell is added to `figures`."""
    saturated = [
        wrk(seconds=2, in_flight=IN_FLIGHT),
        service(folder, figures["saturated"], rows=100_000, in_flight=IN_FLIGHT),
        peer("lorax-batch runner", "runner", rows=80_000, in_flight=IN_FLIGHT),
        peer("aiohttp loop", "aiohttp_loop", rows=10_000, in_flight=IN_FLIGHT),
        peer("lorax-client", "lorax_client_loop", rows=2_000, in_flight=IN_FLIGHT),
        peer("OpenAI SDK loop", "openai_loop", rows=400, in_flight=IN_FLIGHT),
    ]
    paced = [
        service(folder, figures["paced"], rows=30_000, in_flight=PACED_IN_FLIGHT),
        peer("lorax-batch runner", "runner", rows=15_000, in_flight=PACED_IN_FLIGHT),
        peer("aiohttp loop", "aiohttp_loop", rows=6_000, in_flight=PACED_IN_FLIGHT),
    ]
    return [
        Event(
            name="saturated",
            title=f"instant server, 500-byte rows, {IN_FLIGHT} in flight",
            contestants=[contestant for contestant in saturated if contestant is not None],
        ),
        Event(
            name="paced",
            title=f"{PACED_SERVERS} servers x {PACED_IN_FLIGHT} in flight, about {PACED_DELAY_MS} ms a reply",
            contestants=paced,
            servers=PACED_SERVERS,
            delay_ms=PACED_DELAY_MS,
        ),
    ]


def service(folder: Path, figures: list[ServiceMeasurement], *, rows: int, in_flight: int) -> Contestant:
    """Return the whole service, durable in PostgreSQL, as a contestant."""

    def measure(urls: list[str], core: int | None) -> Measurement:
        with bench_service(urls, in_flight, core) as running:
            measured = running.measure(dataset(folder, rows), rows)
        figures.append(measured)
        return Measurement(rows=rows, wall_s=measured.wall_s, cpu_s=measured.cpu_s, rss_mib=measured.rss_mib)

    return Contestant(name=OURS, measure=measure)


def dataset(folder: Path, rows: int) -> Path:
    """Return a dataset of so many rows, made once."""
    path = folder / f"{rows}.jsonl"
    if not path.exists():
        write_dataset(path, rows)
    return path


def memory(folder: Path) -> dict[str, float]:
    """Return the service's RSS in MiB at 1,024 in flight, by the size of the dataset."""
    server_core, client_core = _cores()
    peaks: dict[str, float] = {}
    for rows in MEMORY_ROWS:
        print(f"\rmemory: {rows:,} rows", end="", file=sys.stderr)
        with instant_server(server_core) as url, bench_service([url], MEMORY_IN_FLIGHT, client_core) as running:
            peaks[f"{rows}"] = round(running.measure(dataset(folder, rows), rows).rss_mib, 1)
    print("\r" + " " * 60 + "\r", end="", file=sys.stderr)
    return peaks


def median(figures: list[ServiceMeasurement], name: str) -> float:
    """Return the median of one figure over the rounds."""
    return round(float(statistics.median(getattr(measured, name) for measured in figures)), 1)


def reached(figures: dict[str, list[ServiceMeasurement]], peaks: dict[str, float]) -> list[tuple[str, float, float]]:
    """Return what the service is held to: (what, measured, at most)."""
    saturated, paced = figures["saturated"], figures["paced"]
    small, large = (peaks[f"{rows}"] for rows in MEMORY_ROWS)
    return [
        ("CPU us/row, saturated", round(statistics.median(m.cpu_s / m.rows for m in saturated) * 1e6, 1), 50),
        ("CPU us/row, paced", round(statistics.median(m.cpu_s / m.rows for m in paced) * 1e6, 1), 120),
        (f"RSS MiB at {MEMORY_IN_FLIGHT:,} in flight", max(small, large), 250),
        ("growth MiB from 100 k to 1 M rows", round(large - small, 1), 10),
        ("result download, CPU us/row", median(saturated, "download_us_per_row"), 3),
        ("GetJob p99 ms under the paced load", median(paced, "get_job_p99_ms"), 20),
        ("PostgreSQL, WAL bytes/row", median(saturated, "wal_bytes_per_row"), 400),
        ("commits/s", median(saturated, "commits_per_second"), 10),
        ("files at the end, CPU us/row", median(saturated, "finalise_us_per_row"), 20),
    ]


def _cores() -> tuple[int | None, int | None]:
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    return (cores[0], cores[1]) if len(cores) > 1 else (None, None)


def run(event: Event) -> dict[str, list[Measurement]]:
    """Measure all contestants of an event, round by round."""
    server_core, client_core = _cores()
    results: dict[str, list[Measurement]] = {contestant.name: [] for contestant in event.contestants}
    for number in range(ROUNDS):
        for contestant in event.contestants:
            print(f"\r{event.name}: round {number + 1} of {ROUNDS}, {contestant.name:<24}", end="", file=sys.stderr)
            with ExitStack() as stack:
                urls = [stack.enter_context(instant_server(server_core, event.delay_ms)) for _ in range(event.servers)]
                results[contestant.name].append(contestant.measure(urls, client_core))
    print("\r" + " " * 60 + "\r", end="", file=sys.stderr)
    return results


def summarise(results: dict[str, list[Measurement]]) -> list[dict[str, Any]]:
    """Return the medians, with the CPU time in relation to ours."""
    rows: list[dict[str, Any]] = [
        {
            "name": name,
            "us_per_row": round(statistics.median(run.us_per_row for run in runs), 1),
            "rows_per_second": round(statistics.median(run.rows_per_second for run in runs)),
            "rss_mib": round(statistics.median(run.rss_mib for run in runs)),
            "rounds_us_per_row": [round(run.us_per_row, 1) for run in runs],
        }
        for name, runs in results.items()
    ]
    ours = next(row["us_per_row"] for row in rows if row["name"] == OURS)
    return [row | {"times_ours": round(row["us_per_row"] / ours, 2)} for row in rows]


def show(event: Event, rows: list[dict[str, Any]]) -> None:
    """Print one table."""
    print(f"\n{event.title}\n{'':<24}{'CPU us/row':>12}{'x ours':>9}{'rows/s':>10}{'RSS MiB':>9}")
    for row in rows:
        rss = str(row["rss_mib"]) if row["rss_mib"] else "-"
        print(
            f"{row['name']:<24}{row['us_per_row']:>12}{row['times_ours']:>9}{row['rows_per_second']:>10,}{rss:>9}",
            flush=True,
        )


def main() -> None:
    """Measure, print, and write `bench/results.json`."""
    build()
    report: dict[str, Any] = {"python": platform.python_version(), "cpus": os.cpu_count(), "rounds": ROUNDS}
    figures: dict[str, list[ServiceMeasurement]] = {"saturated": [], "paced": []}
    with tempfile.TemporaryDirectory(prefix="lorax-batch-bench-") as folder:
        for event in events(Path(folder), figures):
            rows = summarise(run(event))
            show(event, rows)
            report[event.name] = {"load": event.title, "clients": rows}
        report["service"] = reached(figures, memory(Path(folder)))
    print(f"\n{'the service':<44}{'measured':>10}{'at most':>10}")
    for what, measured, limit in report["service"]:
        print(f"{what:<44}{measured:>10}{limit:>10}{'' if measured <= limit else '   MISSED'}")
    RESULTS.write_text(json.dumps(report, indent=2) + "\n")
    print(f"\nwritten to {RESULTS.relative_to(Path.cwd()) if RESULTS.is_relative_to(Path.cwd()) else RESULTS}")


if __name__ == "__main__":
    main()
