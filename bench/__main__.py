"""`make bench`: what a row costs us, beside what it costs others, in one interleaved run of about a minute.

Trust the CPU time a row and the ratios; wall rates swing with whatever else the machine does.
"""

import json
import os
import platform
import statistics
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.contestants import Contestant, Measurement, peer, wrk
from bench.instant import build, instant_server

ROUNDS = 3
IN_FLIGHT = 256
PACED_SERVERS = 16
PACED_IN_FLIGHT = 64
PACED_DELAY_MS = 200
RESULTS = Path(__file__).parent / "results.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Contestants that are compared under one load."""

    name: str
    title: str
    contestants: list[Contestant]
    servers: int = 1
    delay_ms: int = 0


def events() -> list[Event]:
    """Return what is measured."""
    saturated = [
        wrk(seconds=2, in_flight=IN_FLIGHT),
        peer("lorax-batch runner", "runner", rows=80_000, in_flight=IN_FLIGHT),
        peer("aiohttp loop", "aiohttp_loop", rows=10_000, in_flight=IN_FLIGHT),
        peer("lorax-client", "lorax_client_loop", rows=2_000, in_flight=IN_FLIGHT),
        peer("OpenAI SDK loop", "openai_loop", rows=400, in_flight=IN_FLIGHT),
    ]
    paced = [
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
            title=f"{PACED_SERVERS} servers x {PACED_IN_FLIGHT} in flight, {PACED_DELAY_MS} ms a reply",
            contestants=paced,
            servers=PACED_SERVERS,
            delay_ms=PACED_DELAY_MS,
        ),
    ]


def run(event: Event) -> dict[str, list[Measurement]]:
    """Measure all contestants of an event, round by round."""
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    server_core, client_core = (cores[0], cores[1]) if len(cores) > 1 else (None, None)
    results: dict[str, list[Measurement]] = {contestant.name: [] for contestant in event.contestants}
    for number in range(ROUNDS):
        for contestant in event.contestants:
            print(f"\r{event.name}: round {number + 1} of {ROUNDS}, {contestant.name:<24}", end="", file=sys.stderr)
            with instant_server(server_core, event.delay_ms) as url:
                # One process stands for all servers: it is not what is measured.
                results[contestant.name].append(contestant.measure([url] * event.servers, client_core))
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
    ours = next(row["us_per_row"] for row in rows if str(row["name"]).startswith("lorax-batch"))
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
    for event in events():
        rows = summarise(run(event))
        show(event, rows)
        report[event.name] = {"load": event.title, "clients": rows}
    RESULTS.write_text(json.dumps(report, indent=2) + "\n")
    print(f"\nwritten to {RESULTS.relative_to(Path.cwd()) if RESULTS.is_relative_to(Path.cwd()) else RESULTS}")


if __name__ == "__main__":
    main()
