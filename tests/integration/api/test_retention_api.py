"""What callers see of what expires, and of results whose segments are gone."""

from datetime import UTC, timedelta

import grpc
from lorax_batch.v1 import batch_inference_pb2 as pb
from lorax_batch.v1 import datasets_pb2, job_pb2
from lorax_batch_scheduler.retention.compaction import Compaction

from tests.integration.api.conftest import RETENTION, Api, refusal
from tests.integration.postgres.retention.ended_job import ended_job, result_line
from tests.integration.postgres.retention.test_complete_deletion import tables_that_name


async def get_job(api: Api, job_id: str) -> job_pb2.Job:
    return (await api.jobs.GetJob(pb.GetJobRequest(job_id=job_id))).job


async def test_jobs_and_datasets_tell_when_they_expire(api: Api) -> None:
    job = await ended_job(api.stores, api.objects)
    assert job.end_time is not None
    assert RETENTION.jobs is not None
    assert RETENTION.datasets is not None
    told = await get_job(api, "job_1")
    assert told.expire_time.ToDatetime(tzinfo=UTC) == job.end_time + RETENTION.jobs
    dataset = (await api.datasets.GetDataset(datasets_pb2.GetDatasetRequest(dataset="ds_1"))).dataset
    assert dataset.expire_time.ToDatetime(tzinfo=UTC) == job.end_time + RETENTION.datasets
    await api.stores.queued_job("job_2")
    assert not (await get_job(api, "job_2")).HasField("expire_time")
    page = await api.datasets.ListDatasets(datasets_pb2.ListDatasetsRequest())
    assert not page.datasets[0].HasField("expire_time"), "a job needs it"


async def test_results_are_streamed_from_the_files_of_a_compacted_job(api: Api) -> None:
    await ended_job(api.stores, api.objects, commits=[[3, 1], [5, 2, 4]])
    assert await Compaction(api.stores.retention, api.objects).step(timedelta(0)) == (1, False)
    for order, lines in ((pb.RESULT_ORDER_COMPLETION, [3, 1, 2, 4, 5]), (pb.RESULT_ORDER_INPUT, [1, 2, 3, 4, 5])):
        request = pb.StreamResultsRequest(job_id="job_1", order=order)
        parts = [part async for part in api.jobs.StreamResults(request)]
        assert b"".join(part.rows.lines for part in parts) == b"".join(result_line("job_1", line) for line in lines)
        assert parts[-1].summary.row_count == 5


async def test_a_result_file_that_was_lost_is_data_loss(api: Api) -> None:
    await ended_job(api.stores, api.objects)
    await Compaction(api.stores.retention, api.objects).step(timedelta(0))
    await api.objects.delete("results/job_1/output.jsonl")

    async def read() -> None:
        async for _ in api.jobs.StreamResults(pb.StreamResultsRequest(job_id="job_1")):
            pass

    assert (await refusal(read())).code == grpc.StatusCode.DATA_LOSS


async def test_a_deleted_job_leaves_nothing_but_its_story_for_an_hour(api: Api) -> None:
    await ended_job(api.stores, api.objects)
    await api.jobs.DeleteJob(pb.DeleteJobRequest(job_id="job_1"))
    assert set(await tables_that_name(api.stores, "job_1")) == {"job_events", "job_remains", "removals"}
    assert [info.key async for info in api.objects.scan("results/")] == []
    watch = api.jobs.WatchJobs(pb.WatchJobsRequest(after_sequence=0))
    async for message in watch:
        if message.deleted:
            assert (message.deleted, message.sequence) == ("job_1", 4)
            break
    watch.cancel()
