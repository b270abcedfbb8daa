"""The end of a job: reached once, by whoever is alive, with its files in reach and nothing left over."""

from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import botocore.session
import pytest
from lorax_batch_client import JobState
from lorax_batch_client.errors import FailedPreconditionError, NotFoundError
from lorax_batch_scheduler.object_names import OWNER_KEY

from tests.end_to_end.job_story import MODEL, JobStory, submit
from tests.end_to_end.poll import poll_until
from tests.end_to_end.result_files import check_all_rows, download_files
from tests.end_to_end.rows import make_rows
from tests.faults.scenarios.conftest import Start
from tests.faults.scenarios.witness import calls, check_unchanged, once_each, thaw, wait_fired, wait_logged
from tests.processes import Simulator


def test_terminal_overwrite(start: Start, simulator: Simulator, tmp_path: Path) -> None:
    """A scheduler that stood still just before it ended a job, while another one ended it, changes nothing any more.

    Where the last write looks at nothing, a job leaves the state that callers were told was its last.
    """
    frozen = start(simulator.url, failpoints="finalise.before_finish=stop")
    rows = make_rows("over", 100)
    with frozen.client() as client:
        job_id = client.create_job(client.upload_dataset(rows), base_model=MODEL).job_id
        wait_fired(frozen, "finalise.before_finish")
    alive = start()
    with alive.client() as client:
        story = JobStory(client, job_id)
        with pytest.raises(FailedPreconditionError, match=r"FINALIZING|SUCCEEDED"):
            client.cancel_job(job_id)
        job = story.finish()
        assert job.state is JobState.SUCCEEDED
        thaw(frozen)
        wait_logged(frozen, "finalised_elsewhere")
        check_unchanged(job, client.get_job(job))
        check_all_rows(download_files(client, job, tmp_path), rows)
        client.delete_job(job)
    with frozen.client() as client, pytest.raises(NotFoundError):
        client.get_job(job)
    assert calls("over", simulator) == once_each("over", len(rows))
    assert frozen.stop() == 0


def test_finalization_strand(start: Start, simulator: Simulator, tmp_path: Path) -> None:
    """A job whose scheduler died between its files and its last state is ended by another one, its files in reach.

    Where nothing owns that step, the job stays in it for ever, or ends without the files that were written.
    """
    killed = start(simulator.url, failpoints="finalise.before_finish=kill")
    rows = make_rows("strand", 100)
    with killed.client() as client:
        job_id = client.create_job(client.upload_dataset(rows), base_model=MODEL).job_id
        killed.wait_killed()
        assert killed.fired() == ["finalise.before_finish"]
    with start().client() as client:
        job = JobStory(client, job_id).finish()
        assert job.state is JobState.SUCCEEDED
        check_all_rows(download_files(client, job, tmp_path), rows)
    assert calls("strand", simulator) == once_each("strand", len(rows))


def stored_keys(url: str) -> set[str]:
    """Return the keys of a place in a bucket, without its prefix."""
    parts = urlsplit(url)
    endpoint = parts.query.split("endpoint=")[1].split("&")[0]
    client: Any = botocore.session.get_session().create_client("s3", endpoint_url=endpoint, region_name="us-east-1")
    prefix = parts.path.removeprefix("/") + "/"
    try:
        listed = client.list_objects_v2(Bucket=parts.netloc, Prefix=prefix)
        return {entry["Key"].removeprefix(prefix) for entry in listed.get("Contents", ())}
    finally:
        client.close()


def test_orphaned_blob(start: Start, simulator: Simulator, moto_store_url: str, tmp_path: Path) -> None:
    """Killed between an object and the record of it, while it stores a dataset and while it writes a file, the service
    leaves no object that nothing knows: after the deletion of job and dataset the bucket is empty.

    Where each try writes under a name of its own and only records are swept, every crash leaves bytes for ever.
    """
    service = start(simulator.url, failpoints="ingest.after_chunk_put=kill", object_store=moto_store_url)
    rows = make_rows("blob", 100)
    with service.client() as client:
        dataset = client.upload_dataset(rows)
        service.wait_killed()
    assert any(key.startswith("datasets/") for key in stored_keys(moto_store_url))
    service.start("finalise.after_put=kill")
    with service.client() as client:
        job_id = client.create_job(dataset, base_model=MODEL).job_id
        service.wait_killed()
    assert f"results/{job_id}/output.jsonl" in stored_keys(moto_store_url)
    service.start()
    assert service.fired() == ["ingest.after_chunk_put", "finalise.after_put"]
    with service.client() as client:
        job = JobStory(client, job_id).finish()
        check_all_rows(download_files(client, job, tmp_path), rows)
        known = poll_until(lambda: stored_keys(moto_store_url), lambda keys: len(keys) == 4)
        assert {key for key in known if not key.startswith("datasets/")} == {
            OWNER_KEY,
            *(f"results/{job_id}/{name}.jsonl" for name in ("output", "errors")),
        }
        client.delete_job(job)
        client.delete_dataset(dataset)
        assert stored_keys(moto_store_url) == {OWNER_KEY}
    assert calls("blob", simulator) == once_each("blob", len(rows))
    assert service.stop() == 0


def test_recovery_crash_loop(start: Start, well_behaved: Simulator, tmp_path: Path) -> None:
    """A job that kills every process that writes its files is ended without them after some tries; its rows are kept,
    and other jobs go on.

    Without a count of those who died at it, each restart would begin with that job and end there.
    """
    simulator = well_behaved
    simulator.ask("faults", {"on": ["hang=fault:wait"]})
    service = start(simulator.url, failpoints="finalise.before_put=kill", settings="finalise_attempts = 2")
    rows, others = make_rows("poison", 100), make_rows("other", 4, words="fault:wait")
    with service.client() as client:
        other = submit(client, others)
        poison = client.create_job(client.upload_dataset(rows), base_model=MODEL)
    service.wait_killed()
    service.begin("finalise.before_put=kill")
    service.wait_killed()
    # For the other job's two files and no third one.
    service.start("finalise.before_put=kill@3")
    with service.client() as client:
        job = JobStory(client, poison).finish()
        assert (job.state, job.counts.succeeded) == (JobState.FAILED, len(rows))
        assert "2 processes in a row" in job.reason
        assert {row.custom_id for row in client.results(job)} == {row["custom_id"] for row in rows}
        with pytest.raises(FailedPreconditionError, match="stream its results"):
            client.download(job, tmp_path / "out.jsonl")
        simulator.ask("faults", {"clear": True})
        simulator.ask("abort", {})
        ended = JobStory(client, other.job_id).finish()
        assert ended.state is JobState.SUCCEEDED
        check_all_rows(download_files(client, ended, tmp_path), others)
        assert service.fired() == ["finalise.before_put"] * 2
        check_unchanged(job, client.get_job(job))
        client.delete_job(job)
    assert calls("poison", simulator) == once_each("poison", len(rows))
    assert service.stop() == 0
