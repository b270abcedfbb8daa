"""Who is measured, and how a run of each is started and read."""

import json
import os
import re
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass

from bench.instant import BUILD, pin
from bench.peers.measure import prompt


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """One run."""

    rows: int
    wall_s: float
    cpu_s: float
    rss_mib: float

    @property
    def us_per_row(self) -> float:
        """CPU time a row, user and system, in microseconds."""
        return self.cpu_s / self.rows * 1e6

    @property
    def rows_per_second(self) -> float:
        """Rows a second by the wall clock."""
        return self.rows / self.wall_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Contestant:
    """A client that sends rows to the instant server."""

    name: str
    measure: Callable[[list[str], int | None], Measurement]
    """With the servers' URLs, on a core."""


def peer(name: str, module: str, *, rows: int, in_flight: int) -> Contestant:
    """Return a contestant that is a script of `bench/peers`."""

    def measure(urls: list[str], core: int | None) -> Measurement:
        command = [sys.executable, "-m", f"bench.peers.{module}", "--rows", str(rows), "--in-flight", str(in_flight)]
        for url in urls:
            command += ["--url", url]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        pin(process.pid, core)
        output, _ = process.communicate(timeout=120)
        if process.returncode:
            raise RuntimeError(f"{name} ended with status {process.returncode}")
        result = json.loads(output.splitlines()[-1])
        if result["failed"]:
            raise RuntimeError(f"{name}: {result['failed']} of {result['rows']} rows failed")
        return Measurement(
            rows=result["rows"], wall_s=result["wall_s"], cpu_s=result["cpu_s"], rss_mib=result["rss_mib"]
        )

    return Contestant(name=name, measure=measure)


def wrk(*, seconds: int, in_flight: int) -> Contestant | None:
    """Return wrk, the limit of what a client can do; None when it is not installed."""
    program = shutil.which("wrk")
    if program is None:
        return None

    def measure(urls: list[str], core: int | None) -> Measurement:
        script = _wrk_script()
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        command = [program, "-t1", f"-c{in_flight}", f"-d{seconds}s", "-s", script, urls[0] + "/v1/chat/completions"]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        pin(process.pid, core)
        output, _ = process.communicate(timeout=60)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        found = re.search(r"(\d+) requests in ([\d.]+)(m?)s", output)
        if found is None:
            raise RuntimeError(f"wrk says: {output}")
        cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        return Measurement(
            rows=int(found[1]),
            wall_s=float(found[2]) / (1000 if found[3] else 1),
            cpu_s=cpu_s,
            rss_mib=0.0,
        )

    return Contestant(name="wrk", measure=measure)


def _wrk_script() -> str:
    BUILD.mkdir(exist_ok=True)
    body = {"model": "", "max_tokens": 64, "messages": [{"role": "user", "content": prompt(0)}], "temperature": 0.0}
    path = BUILD / f"wrk-{os.getpid()}.lua"
    path.write_text(
        'wrk.method = "POST"\nwrk.headers["Content-Type"] = "application/json"\nwrk.body = [['
        + json.dumps(body)
        + "]]\n"
    )
    return str(path)
