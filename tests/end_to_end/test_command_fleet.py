"""Servers that the service starts and stops itself, as processes on this host."""

import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from lorax_batch_client import Client, JobState, Server, ServerState

from tests.end_to_end.job_story import MODEL, submit
from tests.end_to_end.poll import poll_until
from tests.end_to_end.result_files import check_all_rows, download_files
from tests.end_to_end.rows import make_row, make_rows
from tests.processes import Service

pytestmark = pytest.mark.timeout(90)

LLAMA = "llama-3-1-8b-instruct"
SLOT = """
[[slots]]
id = "{name}"
gpus = [{gpu}]
template = "{template}"
gpu_kind = "{kind}"
gpu_memory_gib = 80
grace_s = 5
"""
FAST = """
[templates.fast]
command = ["{{python}}", "-m", "lorax_simulator", "--port", "{{port}}", "--model-id", "{{model}}",
  "--time-scale", "0.02", "--startup-delay", "30"]
[templates.picky]
command = ["sh", "-c", "case $0 in *lama*) echo loading; echo CUDA error: no device; exit 3; esac; exec $@",
  "{{model}}", "{{python}}", "-m", "lorax_simulator", "--port", "{{port}}", "--model-id", "{{model}}",
  "--time-scale", "0.02", "--startup-delay", "30"]
[templates.stubborn]
command = ["{{python}}", "-m", "lorax_simulator", "--port", "{{port}}",
  "--model-id", "mistralai/Mistral-7B-Instruct-v0.1", "--time-scale", "0.02"]
"""
SETTINGS = "start_back_off_s = 0.2\nmax_failed_starts = 3\n"


def slots(*given: tuple[str, str]) -> str:
    """Return a fleet file with slots of these names and templates, a GPU each; each template is a kind of GPU."""
    texts = [
        SLOT.format(name=name, gpu=gpu, template=template, kind=f"{template}-80")
        for gpu, (name, template) in enumerate(given)
    ]
    return "".join(texts) + FAST.format()


@pytest.fixture
def serve(postgres_directory: Path, tmp_path: Path) -> Iterator[Callable[[str], Service]]:
    """Start a service with a fleet file."""
    started: list[Service] = []

    def start(fleet: str) -> Service:
        file = tmp_path / "fleet.toml"
        file.write_text(fleet)
        settings = tmp_path / "settings.toml"
        settings.write_text(SETTINGS)
        directory = postgres_directory / tmp_path.name
        directory.mkdir(mode=0o755)
        service = Service(directory, arguments=("--fleet", str(file), "--config", str(settings)))
        started.append(service)
        service.start()
        return service

    yield start
    for service in started:
        if service.alive:
            service.stop()
        service.close()
        print(service.log.read_text()[-9000:])


def servers_of(client: Client) -> dict[str, str]:
    """Return the slots of the servers that are ready, by base model."""
    found = [server for server in client.list_servers() if server.state is ServerState.READY]
    return {server.base_model_id: server.slot_id for server in found}


def test_two_models_get_a_server_each_and_their_jobs_run(serve: Callable[[str], Service], tmp_path: Path) -> None:
    """Servers are started for what is queued, each with its model, and every row runs."""
    service = serve(slots(("left", "fast"), ("right", "fast")))
    with service.client() as client:
        rows = {model: make_rows(model, 200) for model in (MODEL, LLAMA)}
        stories = {model: submit(client, rows[model], base_model=model) for model in rows}
        for model, story in stories.items():
            job = story.finish()
            assert job.state is JobState.SUCCEEDED
            check_all_rows(download_files(client, job, tmp_path), rows[model])
        assert sorted(servers_of(client)) == sorted(rows), "they are kept for a while"
        for server in client.list_servers():
            assert server.server_config is not None
            assert server.server_config.base_model == server.base_model_id
            assert "--eager-prefill" in server.launch_arguments
    assert service.stop() == 0


def test_one_slot_serves_two_models_one_after_the_other(serve: Callable[[str], Service]) -> None:
    """A server that has nothing left to do makes room for another model."""
    service = serve(slots(("only", "fast")))
    with service.client() as client:
        first = submit(client, make_rows("first", 100), base_model=MODEL)
        second = submit(client, make_rows("second", 100), base_model=LLAMA)
        assert first.finish().state is JobState.SUCCEEDED
        assert second.finish().state is JobState.SUCCEEDED


def test_a_model_that_fails_at_every_start_fails_its_job_with_the_last_lines_of_the_log(
    serve: Callable[[str], Service],
) -> None:
    """The job says what the server's log said at last, after as many tries as are allowed; other models go on."""
    service = serve(slots(("picky", "picky")))
    with service.client() as client:
        doomed = submit(client, make_rows("doomed", 10), base_model=LLAMA)
        other = submit(client, make_rows("other", 10))
        job = doomed.finish()
        assert job.state is JobState.FAILED
        assert f"servers of {LLAMA} failed to start 3 times in a row (max_failed_starts)" in job.reason
        assert "ended by itself with status 3; last lines of its log: loading; CUDA error: no device" in job.reason
        assert other.finish().state is JobState.SUCCEEDED


def test_a_server_that_reports_another_model_gets_no_rows(serve: Callable[[str], Service]) -> None:
    """A job never runs on a model that it did not ask for."""
    service = serve(slots(("odd", "stubborn")))
    with service.client() as client:
        job = submit(client, make_rows("strange", 10)).finish()
        assert job.state is JobState.FAILED
        assert f"was started for {MODEL} " in job.reason
        assert "but reports the model 'mistralai/Mistral-7B-Instruct-v0.1': it gets no rows" in job.reason
        assert f"add the reported name to the aliases of {MODEL}" in job.reason
        assert job.counts.succeeded == 0


def test_a_drained_slot_lets_its_server_go_and_its_job_waits_until_it_is_back(serve: Callable[[str], Service]) -> None:
    """Rows in flight end, nothing new is started there, the job says why it waits, and goes on after `undrain`."""
    service = serve(slots(("only", "fast")))
    with service.client() as client:
        story = submit(client, make_rows("long", 6_000))
        story.until_ended_rows(50)
        (before,) = client.list_servers()
        client.drain_slot("only", reason="new driver")
        waiting = story.until(lambda job: job.state is JobState.QUEUED and "drained" in job.reason)
        assert waiting.counts.ended < 6_000
        poll_until(lambda: listens(before.url), lambda runs: not runs)
        client.undrain_slot("only")
        job = story.finish()
        assert (job.state, job.counts.succeeded) == (JobState.SUCCEEDED, 6_000)
        (slot,) = client.list_slots()
        assert slot.starts == 2


def test_a_server_too_narrow_for_longer_rows_is_replaced_by_a_wider_one(
    serve: Callable[[str], Service], tmp_path: Path
) -> None:
    """Rows that a server of the family could answer do not fail because the one that runs was started for others.

    Only a row that no server of the model can hold fails, by itself.
    """
    quick = 'values = { time_scale = "0.005", startup_delay_s = "30" }\n'
    service = serve(SLOT.format(name="only", gpu=0, template="simulator", kind="a100-80") + quick)
    with service.client() as client:
        assert submit(client, make_rows("short", 20)).finish().state is JobState.SUCCEEDED
        (narrow,) = client.list_servers()
        assert limit_of(narrow) == 4_096
        rows = [*make_rows("long", 20, max_tokens=6_000), make_row("endless", 0, words="word " * 70_000)]
        story = submit(client, rows)
        story.until(lambda job: "with room for its longest rows" in job.reason and "up to 4,096" in job.reason)
        job = story.finish()
        assert (job.state, job.counts.succeeded, job.counts.failed) == (JobState.SUCCEEDED, 20, 1)
        (error,) = job.errors
        assert error.custom_id == "endless-0"
        assert "the server has room for 32767 tokens a row: shorten it" in error.message
        (wide,) = client.list_servers()
        assert limit_of(wide) == 32_768, "as long as the model allows"


def limit_of(server: Server) -> int:
    """Return what a server takes for a row, in tokens."""
    words = server.launch_arguments
    return int(words[words.index("--max-total-tokens") + 1])


def test_a_killed_service_goes_on_with_the_servers_that_it_had(serve: Callable[[str], Service], tmp_path: Path) -> None:
    """No server is orphaned and none is started again: the next life adopts it and finishes the job on it."""
    service = serve(slots(("kept", "fast")))
    with service.client() as client:
        rows = make_rows("kept", 4_000)
        story = submit(client, rows)
        story.until_ended_rows(50)
        (before,) = client.list_servers()
        service.kill()
        service.start()
        job = story.finish()
        assert job.state is JobState.SUCCEEDED
        check_all_rows(download_files(client, job, tmp_path), rows)
        (after,) = client.list_servers()
        assert (after.server_id, after.url) == (before.server_id, before.url)
        assert after.launch_arguments
        (slot,) = client.list_slots()
        assert slot.reason == "it was there when the service began"
        assert (after.server_config, after.launch_arguments) == (before.server_config, before.launch_arguments)
    assert service.stop() == 0
    assert not listens(after.url), "its server outlived it"


def listens(url: str) -> bool:
    """Tell whether anybody is there."""
    place = urlsplit(url)
    try:
        socket.create_connection((str(place.hostname), int(place.port or 0)), timeout=2).close()
    except ConnectionRefusedError:
        return False
    return True
