"""A trace, run by a service on simulated servers and replayed in virtual time."""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

# Of no use to a test are the times: how far they differ depends on the machine (`make rehearse` measures it).
SCALE = 0.02


def job(number: int, family: str, arrival_s: float, adapters: list[str]) -> dict[str, Any]:
    drawn = {"seed": number, "count": 150, "prompt_median": 60, "output_median": 40, "max_tokens": 128}
    return {"id": f"job {number}", "family": family, "arrival_s": arrival_s, "drawn": {**drawn, "adapters": adapters}}


TRACE = {
    "version": 1,
    "slots": [{"id": f"gpu {n}", "kind": "a100-80", "memory_bytes": 80 << 30, "node": "a"} for n in range(2)],
    "models": [
        {"name": "m", "parameters": 7_241_732_096, "weight_bytes": 14_483_464_192, "kv_bytes_per_token": 131_072},
        {"name": "n", "parameters": 8_030_261_248, "weight_bytes": 16_060_522_496, "kv_bytes_per_token": 131_072},
    ],
    # More families than slots: a server that was started for one must get its rows before its slot goes to the next.
    "families": [{"id": "one", "model": "m"}, {"id": "two", "model": "n"}, {"id": "three", "model": "m"}],
    "jobs": [
        job(1, "one", 0, ["x", "y"]),
        job(2, "two", 20, ["z"]),
        job(3, "one", 40, ["x", "y"]),
        job(4, "three", 60, []),
    ],
}


async def test_all_rows_end_and_as_many_servers_are_started_as_in_the_replay(tmp_path: Path) -> None:
    (tmp_path / "trace.json").write_text(json.dumps(TRACE))
    pipe = asyncio.subprocess.PIPE
    words = ["-m", "lorax_batch_server", "rehearse", "trace.json", "--time-scale", str(SCALE), "--json"]
    process = await asyncio.create_subprocess_exec(sys.executable, *words, stdout=pipe, stderr=pipe, cwd=tmp_path)
    out, err = await asyncio.wait_for(process.communicate(), 90)
    assert process.returncode == 0, err.decode()
    told = json.loads(out)
    live, replay = told["live"], told["replay"]
    assert (live["rows"], live["unsuccessful_rows"]) == (600, 0)
    assert live["finish_s"].keys() == replay["finish_s"].keys() == {"job 1", "job 2", "job 3", "job 4"}
    # On a slow machine one may be started anew for jobs that come later after each other than in the trace.
    assert 3 == replay["servers_started"] <= live["servers_started"] <= 4
    assert live["adapter_loads"] >= replay["adapter_loads"] == 3
    assert live["makespan_s"] >= 90.0, "a server that starts takes its time"


async def test_a_trace_with_a_mistake_is_refused_by_the_field(tmp_path: Path) -> None:
    (tmp_path / "trace.json").write_text(json.dumps({**TRACE, "families": []}))
    pipe = asyncio.subprocess.PIPE
    words = ["-m", "lorax_batch_server", "rehearse", "trace.json"]
    process = await asyncio.create_subprocess_exec(sys.executable, *words, stdout=pipe, stderr=pipe, cwd=tmp_path)
    _, err = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 2
    assert "families" in err.decode()
