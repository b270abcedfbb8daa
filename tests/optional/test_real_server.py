"""A real LoRAX (or any OpenAI-compatible) server, where one is named: LORAX_BATCH_TEST_SERVER=http://host:port."""

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.processes import read_ids, write_rows

SERVER = os.environ.get("LORAX_BATCH_TEST_SERVER", "")


@pytest.mark.skipif(not SERVER, reason="NO REAL SERVER: set LORAX_BATCH_TEST_SERVER to the URL of one")
@pytest.mark.timeout(900)
def test_a_real_server_answers_every_row_once(tmp_path: Path) -> None:
    ids = write_rows(tmp_path / "rows.jsonl", 50, adapters=("",))
    output = tmp_path / "out.jsonl"
    command = [sys.executable, "-m", "lorax_batch_server", "run", str(tmp_path / "rows.jsonl"), "-o", str(output)]
    subprocess.run([*command, "--server", SERVER], check=True, timeout=800)
    assert Counter(read_ids(output)) == Counter(ids)
