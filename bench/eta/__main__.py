"""`python -m bench.eta`: the share of jobs that end within their band, before and after the edges have learned."""

import argparse
import time

from lorax_batch_scheduler.estimates import Calibration, Coverage, LearnedBook

from bench.eta.replay import foretell
from bench.packing.families import FAMILIES


def main() -> None:
    """Play each family of traces with edges that know nothing, then all of them with edges that learn on."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--family", action="append", choices=sorted(FAMILIES))
    options = parser.parse_args()
    names = options.family or list(FAMILIES)
    for name in names:
        began = time.perf_counter()
        calibration = Calibration(LearnedBook())
        foretell(FAMILIES[name](options.seed), calibration)
        show(f"{name} [{time.perf_counter() - began:.1f} s]", calibration.coverage())
    book = LearnedBook()
    for name in names:
        foretell(FAMILIES[name](options.seed + 1), Calibration(book))
    learned = Calibration(book)
    for name in names:
        foretell(FAMILIES[name](options.seed + 2), learned)
    show("all families, edges learned on other seeds", learned.coverage())


def show(title: str, coverages: list[Coverage]) -> None:
    """Print one line a stage."""
    print(title)
    for each in coverages:
        print(
            f"  {each.stage:5.0%} of rows ended: {each.ends:4} ends, {each.within:4.0%} within the band (80 % wanted),"
            f" {each.before:4.0%} before, {each.after:4.0%} after, median error {each.median_error:.2f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
