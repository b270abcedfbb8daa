"""The service dies at every step of an upload and of the check of a dataset."""

import json
from pathlib import Path

import pytest
from lorax_batch_client import Client, Dataset, DatasetState, JobState

from tests.end_to_end.rows import make_rows
from tests.faults.failpoints.crash import Place, read_files, run_job

pytestmark = pytest.mark.timeout(240)

UPLOAD = (
    "upload.before_begin",
    "upload.after_begin",
    "upload.before_part_put",
    "upload.after_part_put",
    "upload.after_part",
    "upload.before_finish",
    "upload.after_finish",
)
INGEST = (
    "ingest.before_claim",
    "ingest.after_claim",
    "ingest.before_chunk_put",
    "ingest.after_chunk_put",
    "ingest.before_finish",
    "ingest.after_finish",
    "removal.before_delete",
    "removal.after_delete",
)
FAILED_INGEST = ("ingest.before_fail", "ingest.after_fail")
CHILD = ("ingest.before_feed", "ingest.after_feed", "ingest.before_grouped", "ingest.after_grouped")
ON_S3 = ("upload.after_part_put", "ingest.after_chunk_put", "removal.after_delete")
POINTS = (*UPLOAD, *INGEST, *FAILED_INGEST, *CHILD)


@pytest.mark.parametrize("points", [UPLOAD, INGEST], ids=["upload", "ingest"])
def test_a_dataset_arrives_through_deaths_at_every_step(place: Place, points: tuple[str, ...], tmp_path: Path) -> None:
    """An upload whose service dies at each step goes on with its request_id, and its dataset has every row once."""
    tag = points[0].partition(".")[0]
    rows = make_rows(tag, 20, adapters=("", "org/a"))
    job = place.through_deaths(points, run_job(rows, tag))
    assert job.state is JobState.SUCCEEDED
    read_files(place, job, tmp_path, rows)
    place.check_rest()


@pytest.mark.long
def test_a_dataset_arrives_in_s3_through_deaths(s3_place: Place, tmp_path: Path) -> None:
    """What S3 has and PostgreSQL does not know of is stored again, and nothing of it is left behind."""
    rows = make_rows("s3", 20)
    job = s3_place.through_deaths(ON_S3, run_job(rows, "s3"))
    assert job.state is JobState.SUCCEEDED
    read_files(s3_place, job, tmp_path, rows)
    s3_place.check_rest()


def test_a_bad_dataset_fails_through_deaths(place: Place, tmp_path: Path) -> None:
    """A dataset with a bad line FAILS once, whatever dies when that is written down, and leaves no object."""
    path = tmp_path / "bad.jsonl"
    path.write_text(json.dumps({"custom_id": "only"}) + "\n", encoding="utf-8")

    def run(client: Client) -> Dataset:
        uploaded = client.upload_dataset(path, request_id="bad-dataset")
        while (dataset := client.get_dataset(uploaded)).state is DatasetState.VALIDATING:
            pass
        return dataset

    assert place.through_deaths(FAILED_INGEST, run).state is DatasetState.FAILED
    place.check_rest()


@pytest.mark.parametrize("point", CHILD)
def test_a_dataset_is_checked_anew_when_the_process_that_checks_it_dies(
    place: Place, point: str, tmp_path: Path
) -> None:
    """The death of the process that checks a dataset is survived by the service, and costs no row."""
    rows = make_rows(point.replace(".", "-"), 20)
    before = place.service.fired()
    place.service.start(f"{point}=kill")
    with place.service.client() as client:
        client.upload_dataset(rows, request_id=f"{point}-dataset")
        place.service.wait_logged("ingest_failed")
        assert place.service.fired() == [*before, point]
    place.service.kill()
    place.service.start()
    with place.service.client() as client:
        job = run_job(rows, point)(client)
    assert job.state is JobState.SUCCEEDED
    read_files(place, job, tmp_path, rows)
    place.check_rest()
