"""Tokens of jobs are nowhere but in the servers that need them, whatever happens."""

import asyncio
import json
import re
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from lorax_batch_client import Client, ClientError, JobState
from lorax_batch_scheduler.sealing.key_ring import SealingKey, new_key, parse_keys
from lorax_batch_server.cli.application import application
from typer.testing import CliRunner

from tests.certificates import write_anew
from tests.end_to_end.job_story import MODEL, JobStory
from tests.end_to_end.poll import poll_until
from tests.otlp_collector import Collector, otlp_collector
from tests.planted_secret import files_with, forms_of, holds, processes_with, tables_with
from tests.processes import Service, write_rows
from tests.webhook_receiver import Receiver

pytestmark = pytest.mark.timeout(120)

HUB_TOKEN = "hf_" + "Pl4nted" * 5
ADAPTER_TOKEN = "planted-for/adapters+" + "x7" * 8
BAD_MODEL = "llama-3-1-8b-instruct"
FLEET = """
[[slots]]
id = "one"
gpus = [0]
template = "scripted"
gpu_kind = "a100-80"
gpu_memory_gib = 80
grace_s = 5
[templates.scripted]
command = ["sh", "-c", '''case "$1" in *lama*) echo "401 with $HUGGING_FACE_HUB_TOKEN"; exit 3;; esac
exec "$2" -m lorax_simulator --port "$3" --model-id "$1" --time-scale 0.02 --startup-delay 30''', "sh",
  "{model}", "{python}", "{port}"]
"""
SETTINGS = 'start_back_off_s = 0.1\nmax_failed_starts = 2\nlog_level = "debug"\nsecrets_key_file = "{keys}"\n'
WATCHED = (
    'otlp_endpoint = "{collector}"\nmetrics_port = 0\nwebhook_networks = ["127.0.0.0/8"]\nwebhook_allow_http = true\n'
)


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """Return a folder for what people keep to themselves: tokens and keys."""
    folder = tmp_path / "outside"
    folder.mkdir()
    (folder / "hub-token").write_text(HUB_TOKEN)
    (folder / "adapter-token").write_text(ADAPTER_TOKEN)
    (folder / "keys").write_text(str(new_key()))
    (folder / "keys").chmod(0o600)
    return folder


@pytest.fixture
def collector() -> Iterator[Collector]:
    with otlp_collector() as collector:
        yield collector


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


@pytest.fixture
def service(postgres_directory: Path, tmp_path: Path, outside: Path, collector: Collector) -> Iterator[Service]:
    (tmp_path / "fleet.toml").write_text(FLEET)
    settings = SETTINGS.format(keys=outside / "keys") + WATCHED.format(collector=collector.endpoint)
    (tmp_path / "settings.toml").write_text(settings)
    directory = postgres_directory / tmp_path.name
    directory.mkdir(mode=0o755)
    arguments = ("--fleet", str(tmp_path / "fleet.toml"), "--config", str(tmp_path / "settings.toml"))
    # Cold: `ps` and `/proc` show what it was started with.
    service = Service(directory, arguments=arguments, cold=True)
    yield service
    if service.alive:
        service.stop()
    service.close()
    print(service.log.read_text()[-9000:])


class CommandLine:
    """Calls the command line; all that it says is kept."""

    def __init__(self, target: str, folder: Path) -> None:
        self._target = target
        self._folder = folder
        folder.mkdir()
        self._number = 0

    def __call__(self, *arguments: str, code: int = 0) -> list[Any]:
        """Return the JSON objects that a command has printed."""
        ended = CliRunner().invoke(application, [*arguments, "--target", self._target])
        self._stem(arguments).with_suffix(".txt").write_text(f"{ended.output}\n{ended.stderr}\n{ended.exception!r}")
        assert ended.exit_code == code, ended.output
        return [json.loads(line) for line in ended.stdout.splitlines() if line.startswith("{")]

    @contextmanager
    def beside(self, *arguments: str) -> Iterator[None]:
        """Let a command run meanwhile, as a process."""
        command = [sys.executable, "-m", "lorax_batch_server", *arguments, "--target", self._target]
        with self._stem(arguments).with_suffix(".txt").open("wb") as said:
            process = subprocess.Popen(command, stdout=said, stderr=said)
            try:
                yield
            finally:
                process.terminate()
                process.wait(20)

    def _stem(self, arguments: tuple[str, ...]) -> Path:
        self._number += 1
        return self._folder / f"{self._number:02}-{arguments[0]}-{arguments[1]}"


def rotate(service: Service, outside: Path, settings: Path, old: SealingKey, new: SealingKey) -> None:
    """Seal all tokens with a new key, and forget the old one, while the service runs."""
    write_anew(outside / "keys", f"{new}\n{old}\n".encode())
    where = ("--config", str(settings), "--data-dir", str(service.directory / "data"), "--json")
    rotated = CliRunner().invoke(application, ["secrets", "rotate", *where])
    told = json.loads(rotated.stdout)
    assert (told["key"], told["unreadable"]) == (new.key_id, 0), rotated.output
    assert told["sealed"] >= 1
    write_anew(outside / "keys", f"{new}\n".encode())


def test_planted_tokens_are_found_nowhere(
    service: Service,
    outside: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    collector: Collector,
    receiver: Receiver,
) -> None:
    """A run with a rotation of keys, a crash of the service, a server that prints its token and ends, and a retry."""
    old, new = parse_keys((outside / "keys").read_text(), "keys").current, new_key()
    secrets = forms_of(HUB_TOKEN, ADAPTER_TOKEN, *(str(key).partition(":")[2] for key in (old, new)))
    said = tmp_path / "said"
    lorax_batch = CommandLine(service.target, said)
    service.start("run.after_commit=kill@3")
    write_rows(tmp_path / "rows.jsonl", 2_000)
    tokens = ("--hf-token-file", str(outside / "hub-token"), "--adapter-token-file", str(outside / "adapter-token"))
    (dataset,) = lorax_batch("datasets", "upload", str(tmp_path / "rows.jsonl"), "--json")[-1:]
    create = ("jobs", "create", "--dataset", dataset["dataset_id"], "--json", *tokens)
    with lorax_batch.beside("fleet", "watch", "--json"):
        lorax_batch("webhooks", "create", receiver.url)
        (good,) = lorax_batch(*create, "--base-model", MODEL, "--label", "a=b")
        lorax_batch("jobs", "pause", good["job_id"])
        rotate(service, outside, tmp_path / "settings.toml", old, new)
        lorax_batch("jobs", "resume", good["job_id"])
        service.wait_killed()
        service.start()
        with service.client() as client:
            poll_until(lambda: client.get_job(good["job_id"]).counts.ended, lambda ended: ended > 0)
            assert processes_with(secrets, "cmdline") == {}
            with_token = processes_with(secrets, "environ")
            assert with_token, "the launched server has it"
            assert all("lorax_simulator" in command for command in with_token.values()), with_token
            assert JobStory(client, good["job_id"]).finish().state is JobState.SUCCEEDED
            (bad,) = lorax_batch(*create, "--base-model", BAD_MODEL)
            failed = JobStory(client, bad["job_id"]).finish()
            assert failed.state is JobState.FAILED
            assert "401 with [" in failed.reason, "what the server said is told, but for the token"
            shown = show_everything(client, good["job_id"], bad["job_id"])
            (again,) = lorax_batch("jobs", "retry", bad["job_id"], "--json")
            assert JobStory(client, again["job_id"]).finish().state is JobState.FAILED
    collector.wait_until(lambda: len(collector.named("job")) >= 3)
    assert not holds(repr(collector.spans).encode(), secrets)
    told = receiver.wait(lambda received: sum(b'"job.failed"' in each.body for each in received) == 2)
    assert not holds(repr(told).encode(), secrets)
    assert not holds(metrics_of(service).encode(), secrets)
    for wrong in (("--base-model", HUB_TOKEN), ("--base-model", MODEL, "--request-id", ADAPTER_TOKEN * 9)):
        lorax_batch(*create, *wrong, code=2)
    lorax_batch("jobs", "list", "--json")
    lorax_batch("jobs", "get", bad["job_id"])
    lorax_batch("jobs", "results", good["job_id"], "--output", str(said / "results.jsonl"), "--json")
    lorax_batch("jobs", "record", "--output", str(said / "trace.json"))
    for what in ("slots", "servers"):
        lorax_batch("fleet", what, "--json")
    assert not holds(shown.encode(), secrets)
    assert asyncio.run(tables_with(service.dsn, secrets)) == []
    assert service.stop() == 0
    assert (service.directory / "data/objects").is_dir()
    assert files_with(secrets, service.directory, said) == []
    assert not holds("".join(capfd.readouterr()).encode(), secrets)


def metrics_of(service: Service) -> str:
    """Return what Prometheus would be told."""
    port = re.findall(r'"port": (\d+), "event": "metrics_listening"', service.log.read_text())[-1]
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        text: str = answer.read().decode()
    return text


def show_everything(client: Client, *job_ids: str) -> str:
    """Return what the client shows of jobs and of the fleet, errors as well."""
    shown: list[Callable[[], object]] = [
        lambda: list(client.list_servers()),
        lambda: list(client.list_slots()),
        lambda: list(client.list_jobs()),
        *(lambda job_id=job_id: client.get_job(job_id) for job_id in job_ids),
        *(lambda job_id=job_id: list(client.watch(job_id)) for job_id in job_ids),
        lambda: client.get_job(HUB_TOKEN),
        lambda: client.create_job("none", base_model=MODEL, hf_token=f"{HUB_TOKEN} and more"),
        lambda: client.create_job(ADAPTER_TOKEN, base_model=MODEL, hf_token=HUB_TOKEN, adapter_token=ADAPTER_TOKEN),
    ]
    texts = []
    for show in shown:
        try:
            texts.append(repr(show()))
        except ClientError as error:
            texts.append(repr(error))
    assert "no dataset" in texts[-1]
    return "\n".join(texts)
