"""Replays every family of traces under every policy and prints the table."""

import argparse
import sys
import time

from lorax_batch_scheduler.replay.bounds import bounds_of
from lorax_batch_scheduler.replay.cluster import Replay
from lorax_batch_scheduler.replay.measures import measure
from lorax_batch_scheduler.replay.policies import POLICIES

from bench.packing.families import FAMILIES


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--policy", action="append", choices=sorted(POLICIES))
    parser.add_argument("--family", action="append", choices=sorted(FAMILIES))
    options = parser.parse_args()
    for policy in options.policy or POLICIES:
        print(policy)
        rows = []
        for name in options.family or FAMILIES:
            began = time.perf_counter()
            trace = FAMILIES[name](options.seed)
            bounds = bounds_of(trace)
            made = time.perf_counter()
            outcome = Replay(trace, POLICIES[policy]()).run()
            m = measure(trace, bounds, outcome)
            rows.append(m)
            print(
                f"  {name:16} makespan {m.makespan_ratio:5.2f}  flow {m.flow_ratio:6.2f}  p95 {m.p95_slowdown:6.1f}"
                f"  misses {m.avoidable_misses}/{m.deadline_misses}  jain {m.jain:.3f}  worst {m.worst_tenant:.2f}"
                f"  gpu {m.gpu_ratio:.2f}  cold {m.cold_starts:3}  loads {m.adapter_loads:5}  plan {m.plan_ms:.2f} ms"
                f"  bound {bounds.makespan_s:.0f} s / flow {bounds.mean_flow_s:.0f} s"
                f"  [{made - began:.1f}+{time.perf_counter() - made:.1f} s]",
                flush=True,
            )
        n = len(rows)
        print(
            f"  mean             makespan {sum(m.makespan_ratio for m in rows) / n:5.2f}"
            f" (worst {max(m.makespan_ratio for m in rows):.2f})"
            f"  flow {sum(m.flow_ratio for m in rows) / n:6.2f}  p95 {sum(m.p95_slowdown for m in rows) / n:6.1f}"
            f"  misses {sum(m.avoidable_misses for m in rows)}  jain {sum(m.jain for m in rows) / n:.3f}"
            f"  worst {min(m.worst_tenant for m in rows):.2f}  gpu {sum(m.gpu_ratio for m in rows) / n:.2f}"
        )
    sys.stdout.flush()


if __name__ == "__main__":
    main()
