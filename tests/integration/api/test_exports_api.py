"""Links and exports through the API: made, listed, refused."""

from datetime import timedelta

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from lorax_batch.v1 import exports_pb2 as pb
from lorax_batch.v1.batch_inference_pb2 import RESULT_KIND_ERROR

from tests.integration.api.conftest import Api, refusal

pytestmark = pytest.mark.damages_database("its job was ended by hand")


async def end_job(api: Api) -> None:
    await api.stores.ready_dataset(3)
    await api.stores.queued_job()
    async with api.stores.database.connection() as connection:
        await connection.execute(
            """UPDATE jobs SET state = 'SUCCEEDED', outcome = 'SUCCEEDED', end_time = now(), result_count = 3,
            succeeded = 3, output_file = $1""",
            {"key": "results/job_1/output.jsonl", "row_count": 3, "byte_count": 9, "sha256": "ab"},
        )


async def test_a_directory_has_no_links(api: Api) -> None:
    await end_job(api)
    told = await refusal(api.exports.CreateDownloadLink(pb.CreateDownloadLinkRequest(job_id="job_1")))
    assert (told.code, told.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "NO_LINKS")
    assert "stream its files, or run the service on S3" in told.message


async def test_a_link_tells_when_it_ends_and_what_it_leads_to(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    await end_job(api)

    async def linked(key: str, *, lifetime: timedelta, file_name: str) -> str:
        return f"https://s3/{key}?for={lifetime.total_seconds():.0f}&as={file_name}"

    monkeypatch.setattr(api.objects, "download_url", linked)
    made = await api.exports.CreateDownloadLink(
        pb.CreateDownloadLinkRequest(job_id="job_1", lifetime=Duration(seconds=60))
    )
    assert made.url == "https://s3/results/job_1/output.jsonl?for=60&as=job_1-output.jsonl"
    assert (made.file.row_count, made.file.byte_count) == (3, 9)
    without = await refusal(
        api.exports.CreateDownloadLink(pb.CreateDownloadLinkRequest(job_id="job_1", kind=RESULT_KIND_ERROR))
    )
    assert (without.code, without.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "STATE_CONFLICT")


async def test_a_job_that_runs_has_no_links(api: Api) -> None:
    await api.stores.ready_dataset(3)
    await api.stores.queued_job()
    told = await refusal(api.exports.CreateDownloadLink(pb.CreateDownloadLinkRequest(job_id="job_1")))
    assert (told.code, told.metadata["current"]) == (grpc.StatusCode.FAILED_PRECONDITION, "QUEUED")


@pytest.mark.parametrize("seconds", [0, -1, 7 * 86_400 + 1])
async def test_a_lifetime_has_limits(api: Api, seconds: int) -> None:
    request = pb.CreateDownloadLinkRequest(job_id="job_1", lifetime=Duration(seconds=seconds), kind=9)  # type: ignore[arg-type]
    assert (await refusal(api.exports.CreateDownloadLink(request))).fields.keys() == {"lifetime", "kind"}


async def test_an_export_is_made_once_and_listed(api: Api) -> None:
    await end_job(api)
    request = pb.CreateExportRequest(job_id="job_1", destination="s3://theirs/out/run-1", request_id="r1")
    made = (await api.exports.CreateExport(request)).export
    assert (made.destination, made.state) == ("s3://theirs/out/run-1/", pb.EXPORT_STATE_WAITING)
    assert (await api.exports.CreateExport(request)).export == made
    assert (await api.exports.GetExport(pb.GetExportRequest(export_id=made.export_id))).export == made
    assert list((await api.exports.ListExports(pb.ListExportsRequest(job_id="job_1"))).exports) == [made]


@pytest.mark.parametrize(
    "destination",
    [
        "s3://elsewhere/out",
        "s3://theirs/in/x",
        "s3://theirs/output",
        "s3://theirs/out/../in",
        "s3://theirs/out//x",
        "/tmp/x",
        "gs://theirs/out",
        "s3://theirs/out/" + "x" * 1_100,
    ],
)
async def test_a_destination_that_is_not_on_the_list_is_refused(api: Api, destination: str) -> None:
    await end_job(api)
    told = await refusal(api.exports.CreateExport(pb.CreateExportRequest(job_id="job_1", destination=destination)))
    assert (told.code, told.reason) == (grpc.StatusCode.PERMISSION_DENIED, "BUCKET_NOT_ALLOWED")
    assert "setting export_buckets" in told.message


async def test_unknown_jobs_and_exports_are_not_found(api: Api) -> None:
    for call in (
        api.exports.CreateDownloadLink(pb.CreateDownloadLinkRequest(job_id="job_9")),
        api.exports.CreateExport(pb.CreateExportRequest(job_id="job_9", destination="s3://theirs/out/")),
        api.exports.GetExport(pb.GetExportRequest(export_id="exp_9")),
        api.exports.ListExports(pb.ListExportsRequest(job_id="job_9")),
    ):
        assert (await refusal(call)).code is grpc.StatusCode.NOT_FOUND
