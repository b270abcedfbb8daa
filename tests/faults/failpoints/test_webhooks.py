"""The service dies before and after each step of telling a state change: nothing is lost, and order is kept."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from lorax_batch_client import Client, Job, JobState

from tests.end_to_end.job_story import MODEL, JobStory
from tests.end_to_end.rows import make_rows
from tests.faults.failpoints.conftest import SETTINGS
from tests.faults.failpoints.crash import Place, upload
from tests.processes import Service, Simulator
from tests.webhook_receiver import Received, Receiver

pytestmark = pytest.mark.timeout(240)

POINTS = ("webhook.before_send", "webhook.after_send", "webhook.before_save", "webhook.after_save")
STORY = ["job.queued", "job.starting", "job.running", "job.finalizing", "job.succeeded"]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


@pytest.fixture(scope="module")
def place(postgres_directory: Path, simulator: Simulator) -> Iterator[Place]:
    """Yield a service that may call this machine, which does not run."""
    directory = postgres_directory / "failpoints-webhooks"
    directory.mkdir(mode=0o755)
    config = directory / "settings.toml"
    config.write_text(
        SETTINGS + 'webhook_networks = ["127.0.0.0/8"]\nwebhook_allow_http = true\n',
        encoding="utf-8",
    )
    service = Service(directory, simulator.url, arguments=("--config", str(config)))
    yield Place(service=service, store_url=str(directory / "data" / "objects"))
    service.close()
    service.wait_postgres_ended()


def test_every_state_change_is_told_through_deaths(place: Place, receiver: Receiver) -> None:
    """A job's changes arrive each at least once, their first arrivals in order; what comes again is the same."""
    place.service.start()
    with place.service.client() as client:
        created = client.create_webhook(receiver.url)
        receiver.secret = created.secret
    place.service.kill()

    def run(client: Client) -> Job:
        job = client.create_job(upload(client, make_rows("hooks", 20), "hooks"), base_model=MODEL, request_id="hooks")
        ended = JobStory(client, job).finish()
        receiver.wait(lambda received: len(first_arrivals(received, job.job_id)) >= len(STORY))
        return ended

    job = place.through_deaths(POINTS, run)
    assert job.state is JobState.SUCCEEDED
    assert first_arrivals(receiver.received, job.job_id) == STORY
    received = [one for one in receiver.received if one.job_id == job.job_id]
    assert all(one.payload for one in received)
    assert len({(one.message_id, one.body) for one in received}) == len(STORY)
    # Dying behind a send and before its result is stored: that one comes again.
    assert len(received) > len(STORY)
    place.check_rest()


def first_arrivals(received: list[Received], job_id: str) -> list[str]:
    """Return the types of a job's messages in the order in which each came for the first time."""
    first: dict[str, str] = {}
    for one in received:
        if one.job_id == job_id:
            first.setdefault(one.message_id, one.type)
    return list(first.values())
