"""Jobs that end while their dataset is still checked: at once, without rows, and what the check finds is not lost."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest
from lorax_batch_client import JobState
from lorax_batch_client.errors import FailedPreconditionError

from tests.end_to_end.job_story import MODEL, JobStory
from tests.end_to_end.result_files import check_all_rows, download_files
from tests.end_to_end.rows import make_rows
from tests.faults.scenarios.conftest import Start
from tests.faults.scenarios.witness import calls, check_unchanged, once_each, wait_fired
from tests.processes import Simulator


def test_jobs_that_end_before_their_dataset_is_checked(start: Start, simulator: Simulator, tmp_path: Path) -> None:
    """Cancelled or expired while VALIDATING, a job ends at once with a total of 0: its rows are not known, and waiting
    for them could take hours. Nothing changes it when they are. A retry of it, asked for before or behind that, runs
    every row of the dataset, and the dataset can't be deleted under it."""
    go_on = tmp_path / "go-on"
    service = start(simulator.url, failpoints=f"ingest.before_finish=hold:{go_on}")
    rows = make_rows("early", 120)
    with service.client() as client, ThreadPoolExecutor() as threads:
        dataset = client.upload_dataset(rows)
        late = JobStory(client, client.create_job(dataset, base_model=MODEL, deadline=timedelta(seconds=0.1)))
        cancelled = client.create_job(dataset, base_model=MODEL)
        with pytest.raises(FailedPreconditionError, match=cancelled.job_id):
            client.delete_dataset(dataset)
        two = [threads.submit(client.cancel_job, cancelled) for _ in range(2)]
        assert all(future.result().state in (JobState.CANCELLING, JobState.CANCELLED) for future in two)
        ended = [late.finish(), JobStory(client, cancelled).finish()]
        assert [job.state for job in ended] == [JobState.EXPIRED, JobState.CANCELLED]
        for job in ended:
            assert (job.counts.total, job.output_file is not None, job.error_file is not None) == (0, True, True)
            assert not download_files(client, job, tmp_path).errors
        wait_fired(service, "ingest.before_finish")
        before = client.retry_job(ended[0])
        assert (before.state, before.retry_of) == (JobState.VALIDATING, ended[0].job_id)
        go_on.touch()
        first = JobStory(client, before).finish()
        behind = client.retry_job(ended[1])
        assert behind.counts.total == len(rows)
        for job in (first, JobStory(client, behind).finish()):
            assert (job.state, job.counts.succeeded) == (JobState.SUCCEEDED, len(rows))
            check_all_rows(download_files(client, job, tmp_path), rows)
        for job in ended:
            check_unchanged(job, client.get_job(job))
        client.delete_dataset(dataset)
        with pytest.raises(FailedPreconditionError, match="deleted"):
            client.retry_job(ended[1])
    assert calls("early", simulator).keys() == once_each("early", len(rows)).keys()
    assert calls("early", simulator).total() == 2 * len(rows)
    assert service.stop() == 0
