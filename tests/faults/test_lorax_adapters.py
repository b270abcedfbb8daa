"""Adapters that can't be had, and those that are still loading: no verdict is asked for twice, and nobody hangs up."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from lorax_batch_client import Client, JobState

from tests.end_to_end.job_story import JobStory, submit
from tests.end_to_end.poll import poll_until
from tests.end_to_end.result_files import check_all_rows, download_files
from tests.end_to_end.rows import key_of, make_rows
from tests.faults.lorax_stage import IN_FLIGHT, LIMITS, Stage
from tests.processes import Simulator

pytestmark = pytest.mark.timeout(60)

BAD = {
    "adapter-not-found": "adapter_not_found",
    "adapter-incompatible": "adapter_incompatible",
    "adapter-invalid": "adapter_invalid",
    "adapter-too-large": "adapter_too_large",
}


@pytest.fixture(scope="module")
def whole_stage(postgres_directory: Path) -> Iterator[Stage]:
    with (
        Simulator(*LIMITS, "--time-scale", "0.02") as one,
        Simulator(*LIMITS, "--time-scale", "0.02") as two,
        Stage(postgres_directory / "lorax-adapters", one, two, settings="stall_after_s = 1.0") as stage,
    ):
        yield stage


@pytest.fixture
def stage(whole_stage: Stage) -> Iterator[Stage]:
    with whole_stage.scene():
        yield whole_stage


def test_bad_adapters_cost_their_own_rows_and_one_call_a_server(stage: Stage, tmp_path: Path) -> None:
    """Each kind of bad adapter fails its rows with its own code after one try a server, also in a second job."""
    stage.misbehave(*(f"{fault}=org/{fault}" for fault in BAD))
    before = {fault: stage.fired(fault) for fault in BAD}
    adapters = ("", "org/good", *(f"org/{fault}" for fault in BAD))
    for tag in ("kinds", "again"):
        rows = make_rows(tag, 600, adapters=adapters)
        _, files = stage.run(tag, rows, tmp_path, repeats=0)
        assert files.codes == dict.fromkeys(BAD.values(), 100)
        for line, result in files.errors.items():
            assert result["error"]["code"] == BAD[rows[line - 1]["body"]["model"].removeprefix("org/")]
        for fault in BAD:
            assert 1 <= stage.fired(fault) - before[fault] <= len(stage.simulators), "asked again for a known verdict"


def test_servers_without_dynamic_adapters_are_each_asked_once(stage: Stage, tmp_path: Path) -> None:
    """When one server runs no adapters the other takes their rows; when none does, the rows fail and say why."""
    before = stage.fired("no-dynamic-adapters")
    stage.misbehave("no-dynamic-adapters", at=0)
    rows = make_rows("static", 300, adapters=("", "org/static-1", "org/static-2"))
    _, files = stage.run("static", rows, tmp_path, repeats=3)
    assert not files.errors
    assert stage.fired("no-dynamic-adapters") - before <= 2
    stage.misbehave("no-dynamic-adapters")
    rows = make_rows("none", 200, adapters=("org/none",))
    _, files = stage.run("none", rows, tmp_path, repeats=0)
    assert files.codes == {"adapter_loading_disabled": 200}
    assert 1 <= stage.calls("none").total() <= 2
    assert stage.fired("no-dynamic-adapters") - before >= 1


class Loading:
    """A job whose adapter loads for more than a second, fails, and aborts a router whose row has hung up."""

    def __init__(self, stage: Stage, tag: str, deadline: timedelta | None = None) -> None:
        self.stage, self.tag = stage, tag
        adapter = f"org/{tag}"
        stage.misbehave("disconnect-abort", f"adapter-slow={adapter}", f"adapter-incompatible={adapter}")
        self._before = self._harm()
        self._slow = stage.fired("adapter-slow")
        self._failed = stage.fired("adapter-incompatible")
        self.rows = make_rows(tag, 200, adapters=(adapter,))
        self.story = submit(stage.client, self.rows, deadline=deadline)
        poll_until(lambda: stage.calls(tag).total(), lambda count: count > 0)

    def check_still_loading(self) -> None:
        """What was done to the job was done before its adapter had failed."""
        assert self.stage.fired("adapter-slow") > self._slow
        assert self.stage.fired("adapter-incompatible") == self._failed

    def check_nobody_hung_up(self) -> None:
        """When the adapter has failed, its row is still there."""
        poll_until(lambda: self.stage.fired("adapter-incompatible"), lambda count: count > self._failed)
        assert self.stage.calls(self.tag).total() == 1, "more than one row waited for the adapter"
        assert self._harm() == self._before

    def _harm(self) -> tuple[int, int, int]:
        stage = self.stage
        return stage.stats("hung_up_while_loading"), stage.stats("restarts"), stage.fired("disconnect-abort")


STOPS: dict[str, Callable[[Client, str], object]] = {
    "cancel": lambda client, job_id: client.cancel_job(job_id),
    "expire": lambda client, job_id: client.update_job(job_id, deadline=timedelta(seconds=0.05)),
    "pause": lambda client, job_id: client.pause_job(job_id),
}


@pytest.mark.parametrize("name", STOPS)
def test_a_job_that_is_stopped_while_its_adapter_loads_does_not_hang_up(
    name: str, stage: Stage, tmp_path: Path
) -> None:
    """Hanging up on a loading adapter can abort a LoRAX router: a job may stop, the row that loads it goes on."""
    loading = Loading(stage, name, timedelta(hours=1) if name == "expire" else None)
    story = loading.story
    STOPS[name](stage.client, story.job_id)
    loading.check_still_loading()
    loading.check_nobody_hung_up()
    if name == "pause":
        story.until(lambda job: job.state is JobState.PAUSED and not job.counts.in_flight)
        stage.client.resume_job(story.job_id)
    job = story.finish()
    files = download_files(stage.client, job, tmp_path)
    check_all_rows(files, loading.rows)
    assert not files.output
    ended_by = {"cancel": "batch_cancelled", "expire": "batch_expired", "pause": "adapter_incompatible"}[name]
    assert files.codes[ended_by] >= 199
    assert set(files.codes) <= {ended_by, "adapter_incompatible"}


def test_a_service_that_is_stopped_while_an_adapter_loads_does_not_hang_up(stage: Stage, tmp_path: Path) -> None:
    """A drain waits for the row that loads an adapter as for any other; the next life goes on with the job."""
    loading = Loading(stage, "drain")
    loading.check_still_loading()
    assert stage.service.stop() == 0
    loading.check_nobody_hung_up()
    stage.service.start()
    job = JobStory(stage.client, loading.story.job_id).finish()
    assert download_files(stage.client, job, tmp_path).codes == {"adapter_incompatible": 200}
    assert stage.calls("drain").total() <= 2, "one for each life of the service at most"


def test_a_server_that_aborts_while_it_loads_an_adapter_loads_it_again(stage: Stage, tmp_path: Path) -> None:
    """A router that dies in the middle of a download costs the rows in flight one more call, and no attempt."""
    restarts = stage.stats("restarts")
    stage.misbehave("adapter-slow=org/cut")
    rows = make_rows("cut", 300, adapters=("", "org/cut"))
    story = submit(stage.client, rows)
    adapted = {key_of("cut", row) for row in range(1, 300, 2)}
    number = poll_until(lambda: next(iter(adapted & stage.calls("cut").keys()), ""), bool)
    for simulator in stage.simulators:
        simulator.ask("abort", {})
    stage.behave("adapter-slow")
    _, files = stage.finish(story, "cut", rows, tmp_path, repeats=2 * IN_FLIGHT)
    assert not files.errors
    assert stage.calls("cut")[number] >= 2
    assert stage.stats("restarts") - restarts == 2
