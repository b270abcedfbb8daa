"""Jobs whose server has room on no slot: they wait or fail, as the operator says, and others go on."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from lorax_batch_client import JobState

from tests.end_to_end.job_story import submit
from tests.end_to_end.rows import make_rows
from tests.processes import Service

pytestmark = pytest.mark.timeout(90)

SMALL = "llama-3-2-1b-instruct"
LARGE = "mistral-7b-instruct-v0-2"
FLEET = """
[[slots]]
id = "small"
gpus = [0]
gpu_memory_gib = {gib}
template = "simulator"
values = {{ time_scale = "0.01", startup_delay_s = "1" }}
grace_s = 5
"""


@pytest.fixture
def serve(postgres_directory: Path, tmp_path: Path) -> Iterator[Callable[..., Service]]:
    """Start a service with one slot of so much memory, over the same data each time."""
    directory = postgres_directory / tmp_path.name
    directory.mkdir(mode=0o755)
    lives: list[Service] = []

    def start(gib: int, *arguments: str) -> Service:
        file = tmp_path / "fleet.toml"
        file.write_text(FLEET.format(gib=gib), encoding="utf-8")
        lives.append(Service(directory, arguments=("--fleet", str(file), *arguments)))
        lives[-1].start()
        return lives[-1]

    yield start
    for life in lives:
        if life.alive:
            assert life.stop() == 0
        life.close()
    print(lives[-1].log.read_text()[-9000:])


def test_a_job_that_fits_on_no_slot_waits_and_runs_once_there_is_one(serve: Callable[..., Service]) -> None:
    """It says what it needs and what there is; a fleet file with a larger slot is all it takes."""
    service = serve(12)
    with service.client() as client:
        story = submit(client, make_rows("large", 5), base_model=LARGE)
        waiting = story.until(lambda job: "largest slot" in job.reason)
        assert waiting.state is JobState.QUEUED
        assert f"a server of {LARGE} needs " in waiting.reason
        assert "the largest slot, small, has 12.0 GiB" in waiting.reason
        assert "give the fleet a larger slot" in waiting.reason
        small = submit(client, make_rows("small", 5), base_model=SMALL).finish()
        assert small.state is JobState.SUCCEEDED
        assert client.get_job(story.job_id).state is JobState.QUEUED
    assert service.stop() == 0
    with serve(80).client() as client:
        assert client.wait(story.job_id).state is JobState.SUCCEEDED


def test_a_job_that_fits_on_no_slot_fails_where_the_operator_says_so(serve: Callable[..., Service]) -> None:
    """It ends with what it needs, what there is and the way out; a job of another model goes on."""
    service = serve(12, "--unfit-jobs", "fail")
    with service.client() as client:
        stories = {model: submit(client, make_rows(model, 5), base_model=model) for model in (LARGE, SMALL)}
        job = stories[LARGE].finish()
        assert job.state is JobState.FAILED
        assert "the largest slot, small, has 12.0 GiB: ask for a quantization or a smaller model" in job.reason
        assert job.counts.cancelled + job.counts.failed == job.counts.total
        assert stories[SMALL].finish().state is JobState.SUCCEEDED
