"""Deaths at failpoints as a caller sees them: the call breaks, the service comes back, the call is repeated."""

import asyncio
import subprocess
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from threading import Thread
from typing import Any, TypeVar

from lorax_batch_client import Client, ClientError, Dataset, Job, RetryPolicy
from lorax_batch_scheduler.objects.urls import open_object_store

from tests.end_to_end.job_story import MODEL, JobStory
from tests.end_to_end.poll import poll_until
from tests.end_to_end.result_files import ResultFiles, check_all_rows, download_files
from tests.end_to_end.rows import Row
from tests.invariants.objects import object_problems
from tests.processes import Service

NOBODY_HOSTS = "llama-2-13b"
"""Jobs of this model wait for ever: what happens to them is only what the test does."""
ENDS_IN_S = 45.0
DIES_IN_S = 10.0
_PATIENT = RetryPolicy(
    first_delay=timedelta(seconds=0.05), longest_delay=timedelta(seconds=0.2), connect_for=timedelta(seconds=ENDS_IN_S)
)
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A service that tests kill again and again, and where its objects are."""

    service: Service
    store_url: str

    def through_deaths(self, points: Sequence[str], call: Callable[[Client], T]) -> T:
        """Make the service die at each of these points, one in each life, then live; return the result of `call`.

        `call` is what a caller's program does, run again from its beginning when the service was away: with the same
        request ids. A point may say which passing of it is meant: `finalise.after_part@2`.
        """
        before = self.service.fired()
        self._begin(points[0])
        pending = self._persist(call)
        for point in (*points[1:], ""):
            poll_until(lambda: pending.done() or not self.service.alive, bool, timeout_s=ENDS_IN_S)
            try:
                # The caller may hear of the last step a moment before the service dies behind it.
                self.service.wait_killed(DIES_IN_S)
            except subprocess.TimeoutExpired:
                raise AssertionError(f"it came to its end without dying: {pending.result(0)}") from None
            self._begin(point)
        result = pending.result(ENDS_IN_S)
        self.service.wait_ready()  # the caller may have had its result from the life before
        assert self.service.fired() == [*before, *(point.partition("@")[0] for point in points)]
        return result

    def while_it_fails(self, call: Callable[[Client], T]) -> T:
        """Let a service that is armed to fail end by itself, start it again, and return the result of `call`."""
        pending = self._persist(call)
        code = self.service.wait_ended(ENDS_IN_S)
        assert code == 1, f"it ended with {code}"
        self.service.wait_logged("service_failed")
        self.service.begin()
        return pending.result(ENDS_IN_S)

    def _begin(self, point: str) -> None:
        """Begin a life: in those after the first the service may die before it ever answers."""
        name, _, nth = point.partition("@")
        self.service.begin(f"{name}=kill" + (f"@{nth}" if nth else "") if point else "")

    def _persist(self, call: Callable[[Client], T]) -> Future[T]:
        """Run a program until it succeeds, in a thread that nobody has to wait for when the test fails."""
        pending: Future[T] = Future()

        def run() -> None:
            try:
                pending.set_result(self._until_done(call))
            except BaseException as error:
                pending.set_exception(error)

        Thread(target=run, daemon=True).start()
        return pending

    def _until_done(self, call: Callable[[Client], T]) -> T:
        while True:
            self.service.wait_ready()
            with Client(self.service.target, retry=_PATIENT) as client:
                try:
                    return call(client)
                except ClientError as error:
                    if not error.transient:
                        raise

    def check_rest(self) -> None:
        """Check database and objects now that nothing is under way, and leave the service as a test finds it: dead."""
        poll_until(self._object_problems, lambda problems: not problems)
        self.service.check_database()
        self.service.kill()

    def _object_problems(self) -> list[str]:
        return asyncio.run(self._read_object_problems())

    async def _read_object_problems(self) -> list[str]:
        async with open_object_store(self.store_url) as objects:
            return await object_problems(self.service.dsn, objects)


def upload(client: Client, rows: list[Row], tag: str) -> Dataset:
    """Return a checked dataset; the same one when it was uploaded before."""
    return client.wait_for_dataset(client.upload_dataset(rows, request_id=f"{tag}-dataset"))


def run_job(rows: list[Row], tag: str, *, base_model: str = MODEL, **fields: Any) -> Callable[[Client], Job]:
    """Return the main job as a caller's program: upload, create, watch to the end."""

    def run(client: Client) -> Job:
        dataset = upload(client, rows, tag)
        job = client.create_job(dataset, base_model=base_model, request_id=f"{tag}-job", **fields)
        return JobStory(client, job).finish()

    return run


def run_cancelled_job(rows: list[Row], tag: str) -> Callable[[Client], Job]:
    """Return a program that cancels a job which nobody has begun to run."""

    def run(client: Client) -> Job:
        dataset = upload(client, rows, tag)
        job = client.create_job(dataset, base_model=NOBODY_HOSTS, request_id=f"{tag}-job")
        client.cancel_job(job)
        return JobStory(client, job).finish()

    return run


def read_files(place: Place, job: Job, folder: Path, rows: list[Row]) -> ResultFiles:
    """Return the files of an ended job, in which each row has exactly one line."""
    with place.service.client() as client:
        files = download_files(client, job, folder)
    check_all_rows(files, rows)
    return files
