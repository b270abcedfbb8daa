"""What every peer takes as arguments and prints as its result."""

import argparse
import json
import resource
import time
from dataclasses import dataclass

WORDS = "please write one short line about the weather in the old harbour town and its people today "


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What to send."""

    urls: list[str]
    rows: int
    in_flight: int
    """For each server."""


def read_load() -> Load:
    """Read the command line that all peers share."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--url", action="append", required=True)
    parser.add_argument("--rows", type=int, required=True)
    parser.add_argument("--in-flight", type=int, required=True)
    arguments = parser.parse_args()
    return Load(urls=arguments.url, rows=arguments.rows, in_flight=arguments.in_flight)


def prompt(number: int) -> str:
    """Return the text of a row, which makes a row of about 500 bytes; the marker tells it apart."""
    return f"m#{number:010d} {WORDS * 3}"


class Stopwatch:
    """Measures wall time and CPU time of this process from its making; imports before it don't count."""

    def __init__(self) -> None:
        self._wall = time.perf_counter()
        self._cpu = time.process_time()

    def report(self, rows: int, failed: int = 0) -> None:
        """Print the result as one JSON line."""
        cpu_s = time.process_time() - self._cpu
        wall_s = time.perf_counter() - self._wall
        rss_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        result = {"rows": rows, "failed": failed, "wall_s": wall_s, "cpu_s": cpu_s, "rss_mib": rss_mib}
        print(json.dumps(result), flush=True)
