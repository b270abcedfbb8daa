"""Callers who upload, watch and read without a pause, and check that nothing is missing or doubled."""

import itertools
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from lorax_batch_client import Client, JobState

from tests.end_to_end.job_story import MODEL
from tests.end_to_end.result_files import check_all_rows, download_files
from tests.end_to_end.rows import make_rows
from tests.faults.replicas import follow_results, watch_to_the_end

WORDS = "x" * 1_000


class BusyCallers:
    """Each runs one job after the other, until told to stop; then each ends the one that it is at."""

    def __init__(self, target: str, folder: Path, *, rows: int) -> None:
        self._target = target
        self._folder = folder
        self._rows = rows
        self._numbers = itertools.count()
        self._stop = threading.Event()
        self._got_on = threading.Condition()
        self._steps = 0
        self._failed = False
        self.jobs = 0
        """Those whose every row was checked."""

    def stop(self) -> None:
        """Begin no more jobs."""
        self._stop.set()

    def wait_steps(self, count: int, timeout_s: float = 60.0) -> None:
        """Return when callers have uploaded, been told of a dataset, or read a whole job so many times from now on."""
        with self._got_on:
            target = self._steps + count
            assert self._got_on.wait_for(lambda: self._failed or self._steps >= target, timeout_s), (
                "callers stand still"
            )

    def call(self) -> None:
        """Be one of the callers."""
        try:
            with Client(self._target) as client:
                while not self._stop.is_set():
                    self._run_job(client)
        except BaseException:
            with self._got_on:
                self._failed = True
                self._got_on.notify_all()
            raise

    def _run_job(self, client: Client) -> None:
        number = next(self._numbers)
        rows = make_rows(f"job{number}", self._rows, words=WORDS)
        uploaded = client.upload_dataset(rows)
        self._step()
        dataset = client.wait_for_dataset(uploaded)
        assert dataset.row_count == len(rows), dataset
        self._step()
        job_id = client.create_job(dataset, base_model=MODEL).job_id
        with ThreadPoolExecutor(1) as reader:
            read = reader.submit(follow_results, client, job_id)
            job = watch_to_the_end(client, job_id)
            assert job.state is JobState.SUCCEEDED, job
            assert sorted(row.custom_id for row in read.result()) == sorted(row["custom_id"] for row in rows)
        check_all_rows(download_files(client, job, self._folder), rows)
        self.jobs += 1
        self._step()

    def _step(self) -> None:
        with self._got_on:
            self._steps += 1
            self._got_on.notify_all()


@contextmanager
def busy_callers(target: str, folder: Path, *, callers: int = 3, rows: int = 200) -> Iterator[BusyCallers]:
    """Yield callers at work; behind the block they have ended, and everything that they checked held."""
    busy = BusyCallers(target, folder, rows=rows)
    with ThreadPoolExecutor(callers) as pool:
        calls = [pool.submit(busy.call) for _ in range(callers)]
        try:
            yield busy
        finally:
            busy.stop()
    for call in calls:
        call.result()
