"""Replays every family of traces under every policy, prints the table and writes build/packing.json."""

import argparse
import json
import time
from dataclasses import asdict
from pathlib import Path

from lorax_batch_scheduler.replay.bounds import bounds_of
from lorax_batch_scheduler.replay.cluster import Replay
from lorax_batch_scheduler.replay.measures import Measures, measure
from lorax_batch_scheduler.replay.policies import POLICIES

from bench.packing.families import FAMILIES
from bench.packing.plan_time import plan_ms
from bench.packing.table import table


def main() -> None:
    """Run what the arguments say; everything by default."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--policy", action="append", choices=sorted(POLICIES))
    parser.add_argument("--family", action="append", choices=sorted(FAMILIES))
    parser.add_argument("--output", type=Path, default=Path("build/packing.json"))
    options = parser.parse_args()
    found: dict[str, dict[str, Measures]] = {policy: {} for policy in options.policy or POLICIES}
    for family in options.family or FAMILIES:
        trace = FAMILIES[family](options.seed)
        bounds = bounds_of(trace)
        for policy, measures in found.items():
            began = time.perf_counter()
            m = measures[family] = measure(trace, bounds, Replay(trace, POLICIES[policy]()).run())
            print(
                f"{family:16} {policy:16} makespan {m.makespan_ratio:5.2f}  flow {m.flow_ratio:6.2f}"
                f"  p95 {m.p95_slowdown:6.1f}  misses {m.avoidable_misses}/{m.deadline_misses}  jain {m.jain:.3f}"
                f"  worst {m.worst_tenant:.2f}  gpu {m.gpu_ratio:.2f}  cold {m.cold_starts:3}"
                f"  loads {m.adapter_loads:5}  [{time.perf_counter() - began:.1f} s]",
                flush=True,
            )
    milliseconds = {families: plan_ms(families=families) for families in (12, 1000)}
    print("\n" + table(found, milliseconds))
    options.output.parent.mkdir(parents=True, exist_ok=True)
    report = {
        "seed": options.seed,
        "plan_ms_1000_jobs_100_slots_by_families": milliseconds,
        "policies": {policy: {name: asdict(m) for name, m in by.items()} for policy, by in found.items()},
    }
    options.output.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
