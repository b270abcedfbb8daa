"""How fast ingest is and how much memory it takes: `python -m bench.ingest [--rows N] [--models N]`.

Rows of about 500 bytes are made and fed in 1 MiB blocks; making them is not measured.
"""

import argparse
import resource
import tempfile
import time
from pathlib import Path
from random import Random

from lorax_batch_scheduler.dataset import OnInvalid
from lorax_batch_scheduler.ingest.engine import Ingest
from lorax_batch_scheduler.ingest.limits import IngestLimits

_TEXT = "summarise the following text about rivers models of language please answer shortly in one or two lines"
_WORDS = _TEXT.split()


def _block(random: Random, first: int, models: int, rows: int = 2_000) -> bytes:
    lines = []
    for number in range(first, first + rows):
        text = " ".join(random.choices(_WORDS, k=46))
        model = random.randrange(models)
        name = f"org/adapter-{model}" if model else ""
        lines.append(
            f'{{"custom_id": "request-{number}", "method": "POST", "url": "/v1/chat/completions", "body": '
            f'{{"model": "{name}", "messages": [{{"role": "system", "content": "You are a helpful assistant."}}, '
            f'{{"role": "user", "content": "{text}"}}], "max_tokens": 128, "temperature": 0.7}}}}\n'
        )
    return "".join(lines).encode()


def main() -> None:
    """Measure and print one line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=500_000)
    parser.add_argument("--models", type=int, default=6)
    arguments = parser.parse_args()
    random = Random(1)
    with tempfile.TemporaryDirectory() as folder:
        ingest = Ingest(Path(folder), IngestLimits(), OnInvalid.FAIL)
        spent = byte_count = 0.0
        for first in range(0, arguments.rows, 2_000):
            block = _block(random, first, arguments.models)
            byte_count += len(block)
            start = time.process_time()
            ingest.feed(block)
            spent += time.process_time() - start
        start = time.process_time()
        outcome = ingest.finish()
        spent += time.process_time() - start
        ingest.close()
    rows = outcome.summary.row_count
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"{rows} rows of {byte_count / rows:.0f} bytes, {arguments.models} models, {len(outcome.chunks)} chunks: "
        f"{rows / spent:,.0f} rows/s of CPU, {spent / rows * 1e6:.2f} us/row, peak RSS {peak:.0f} MiB"
    )


if __name__ == "__main__":
    main()
