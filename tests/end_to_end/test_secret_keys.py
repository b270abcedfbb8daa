"""Keys of tokens over the life of a service: made, rotated while it runs, lost, and brought back."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from lorax_batch_client import JobState
from lorax_batch_scheduler.failpoints import VARIABLE
from lorax_batch_scheduler.sealing.key_ring import new_key, parse_keys

from tests.certificates import write_anew
from tests.end_to_end.job_story import MODEL, JobStory
from tests.end_to_end.rows import make_rows
from tests.processes import Service, Simulator

pytestmark = pytest.mark.timeout(90)


@pytest.fixture
def directory(postgres_directory: Path, tmp_path: Path) -> Path:
    folder = postgres_directory / tmp_path.name
    folder.mkdir(mode=0o755)
    return folder


@pytest.fixture
def idle(directory: Path) -> Iterator[Service]:
    """Yield a service without servers."""
    with Service(directory) as service:
        yield service
        print(service.log.read_text()[-6000:])


def secrets(command: str, directory: Path, failpoints: str = "") -> list[dict[str, Any]] | int:
    """Return what `lorax-batch secrets` prints, or how it ended when it printed nothing."""
    ended = subprocess.run(
        [
            sys.executable,
            "-m",
            "lorax_batch_server",
            "secrets",
            command,
            "--data-dir",
            str(directory / "data"),
            "--json",
        ],
        env={**os.environ, VARIABLE: failpoints},
        capture_output=True,
        timeout=30,
        check=False,
    )
    return [json.loads(line) for line in ended.stdout.splitlines()] or ended.returncode


def test_keys_are_made_rotated_while_the_service_runs_lost_and_brought_back(idle: Service, directory: Path) -> None:
    file = directory / "data/secrets.key"
    assert file.stat().st_mode & 0o777 == 0o600
    first, second = parse_keys(file.read_text(), "first").current, new_key()
    with idle.client() as client:
        dataset = client.wait_for_dataset(client.upload_dataset(make_rows("sealed", 20)))
        job = client.create_job(dataset, base_model=MODEL, hf_token="hf_of_the_first_job")
        write_anew(file, f"{second}\n{first}\n".encode())
        later = client.create_job(dataset, base_model=MODEL, hf_token="hf_of_the_second_job")
    here = {"known": True, "jobs": 1}
    assert secrets("status", directory) == [
        {"key": key.key_id, "current": key is second, **here} for key in sorted((first, second), key=lambda k: k.key_id)
    ]
    assert secrets("rotate", directory, "secrets.after_batch=kill") == -signal.SIGKILL
    assert secrets("rotate", directory) == [{"key": second.key_id, "sealed": 0, "unreadable": 0}], "nothing was left"
    assert secrets("status", directory) == [{"key": second.key_id, "current": True, "known": True, "jobs": 2}]
    assert idle.stop() == 0
    write_anew(file, str(new_key()).encode())
    with Simulator("--time-scale", "0.02") as simulator, Service(directory, simulator.url) as service:
        service.wait_logged("secrets_unreadable")
        with service.client() as client:
            story = JobStory(client, job.job_id)
            waiting = story.until(lambda seen: "can't be read" in seen.reason)
            assert f"does not have key '{second.key_id}'" in waiting.reason
            assert waiting.counts.ended == 0
            write_anew(file, str(second).encode())
            for each in (story, JobStory(client, later.job_id)):
                assert each.finish().state is JobState.SUCCEEDED
        assert service.stop() == 0
