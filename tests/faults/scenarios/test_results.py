"""Results that are there stay there until a caller deletes them."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from lorax_batch_client import JobState
from lorax_batch_client.errors import FailedPreconditionError

from tests.end_to_end.job_story import MODEL, JobStory
from tests.end_to_end.poll import poll_until
from tests.end_to_end.result_files import check_all_rows, download_files
from tests.end_to_end.rows import make_rows
from tests.faults.scenarios.conftest import Start
from tests.faults.scenarios.witness import calls, once_each, wait_fired, wait_logged
from tests.processes import Simulator


def test_async_result_destruction(start: Start, tmp_path: Path) -> None:
    """Answers that a scheduler holds but could not commit yet when it was told to end are committed, not thrown away:
    after the restart no row is sent again. Nor can job or dataset be deleted under a job that is not done.

    Where answers are taken from a queue by whoever is there, a restart takes them and finds nobody who wants them.
    """
    go_on = tmp_path / "go-on"
    rows = make_rows("kept", 400)
    with (
        Simulator("--time-scale", "0.1", "--max-concurrent-requests", "8") as simulator,
        ThreadPoolExecutor() as threads,
    ):
        service = start(simulator.url, failpoints=f"run.before_commit=hold:{go_on}")
        with service.client() as client:
            dataset = client.wait_for_dataset(client.upload_dataset(rows))
            job = client.create_job(dataset, base_model=MODEL)
            poll_until(lambda: simulator.ask("stats")["rows_answered"], lambda answered: answered >= 40)
            assert client.get_job(job).counts.ended == 0, "the commit was not held"
            wait_fired(service, "run.before_commit")
            with pytest.raises(FailedPreconditionError, match=job.job_id):
                client.delete_dataset(dataset)
            with pytest.raises(FailedPreconditionError, match="RUNNING"):
                client.delete_job(job)
            stopping = threads.submit(service.stop)
            wait_logged(service, "stopping")
            poll_until(lambda: simulator.ask("stats")["permits_taken"], lambda taken: taken == 0)
            answered = simulator.ask("stats")["rows_answered"]
            go_on.touch()
            assert stopping.result() == 0
            assert answered < len(rows), "nothing was left to do"
            service.start()
            assert client.get_job(job).counts.succeeded >= answered
            ended = JobStory(client, job).finish()
            assert ended.state is JobState.SUCCEEDED
            check_all_rows(download_files(client, ended, tmp_path), rows)
        assert calls("kept", simulator) == once_each("kept", len(rows))
        assert service.stop() == 0
