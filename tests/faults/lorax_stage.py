"""A service before simulated servers that are told to misbehave, and what must hold of every job that it runs there."""

import urllib.error
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from lorax_batch_client import Client, Job, JobState

from tests.end_to_end.job_story import JobStory, submit
from tests.end_to_end.poll import poll_until
from tests.end_to_end.result_files import ResultFiles, check_all_rows, download_files
from tests.end_to_end.rows import Row
from tests.processes import Service, Simulator

PERMITS = 64
IN_FLIGHT = int(0.9 * PERMITS)
"""What the service sends a server at a time at most."""
LIMITS = ("--max-concurrent-requests", str(PERMITS), "--cold-start", "5")


class Stage:
    """One service and its servers, for the tests of a module."""

    def __init__(self, directory: Path, *simulators: Simulator, settings: str = "") -> None:
        directory.mkdir(mode=0o755)
        config = directory / "settings.toml"
        config.write_text(settings, encoding="utf-8")
        self.simulators = simulators
        self.service = Service(directory, *(each.url for each in simulators), arguments=("--config", str(config)))
        self.client: Client

    def __enter__(self) -> Self:
        self.service.start()
        self.client = Client(self.service.target)
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()
        try:
            assert self.service.stop() == 0
        finally:
            self.service.close()

    @contextmanager
    def scene(self) -> Iterator[Self]:
        """Give the stage to one test: no fault is on before it, and pytest shows the log of one that failed."""
        start = self.service.log.stat().st_size
        yield self
        for simulator in self.simulators:
            _answer_of(simulator, "faults", {"clear": True})
        with self.service.log.open(encoding="utf-8") as log:
            log.seek(start)
            print(log.read()[-12_000:])

    def misbehave(self, *faults: str, at: int | None = None) -> None:
        """Switch faults on, at one server or at all."""
        for simulator in self.simulators if at is None else [self.simulators[at]]:
            _answer_of(simulator, "faults", {"on": list(faults)})

    def behave(self, *faults: str) -> None:
        """Switch faults off at all servers."""
        for simulator in self.simulators:
            _answer_of(simulator, "faults", {"off": list(faults)})

    def stats(self, name: str) -> int:
        """Return a figure of all servers together."""
        return sum(_answer_of(simulator, "stats")[name] for simulator in self.simulators)

    def answers(self, status: int) -> int:
        """Return how many calls were answered with that status."""
        return sum(_answer_of(each, "stats")["rows_by_status"].get(str(status), 0) for each in self.simulators)

    def fired(self, fault: str) -> int:
        """Return how often a fault did its harm, over all tests."""
        return sum(_answer_of(simulator, "stats")["faults_fired"].get(fault, 0) for simulator in self.simulators)

    def calls(self, tag: str) -> Counter[str]:
        """Return how often each row of a dataset was sent."""
        counted: Counter[str] = Counter()
        for simulator in self.simulators:
            received = _answer_of(simulator, "requests")["received"]
            counted.update({key: count for key, count in received.items() if key.startswith(f"m#{tag}x")})
        return counted

    def run(self, tag: str, rows: list[Row], folder: Path, *, repeats: int) -> tuple[Job, ResultFiles]:
        """Run a job to its end, in which it succeeds, with so many calls more than rows at most."""
        return self.finish(submit(self.client, rows), tag, rows, folder, repeats=repeats)

    def finish(
        self, story: JobStory, tag: str, rows: list[Row], folder: Path, *, repeats: int
    ) -> tuple[Job, ResultFiles]:
        """Follow a job to its end, in which it succeeds, and check its files and its calls."""
        job = story.finish()
        assert job.state is JobState.SUCCEEDED, job
        files = download_files(self.client, job, folder)
        check_all_rows(files, rows)
        calls = self.calls(tag).total()
        print(f"{tag}: {calls} calls for {len(rows)} rows: {calls / len(rows):.2f} a row")
        assert calls <= len(rows) + repeats
        return job, files


def _answer_of(simulator: Simulator, path: str, body: object = None) -> Any:
    """Return what a control endpoint answers, as soon as the server is up."""

    def ask() -> Any:
        try:
            return simulator.ask(path, body)
        except (urllib.error.URLError, ConnectionError):
            return None

    return poll_until(ask, lambda answer: answer is not None)
