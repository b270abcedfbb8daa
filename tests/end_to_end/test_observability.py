"""What operators see of a running service: metrics of a job, and its trace from the caller to the server."""

import json
import urllib.request
from collections.abc import Callable, Iterator

import grpc
import pytest
from lorax_batch.v1 import batch_inference_pb2 as pb
from lorax_batch.v1 import batch_inference_pb2_grpc, datasets_pb2_grpc
from lorax_batch.v1 import datasets_pb2 as datasets_pb
from lorax_batch_client import Client, JobState, ServerConfig
from lorax_batch_server.cli.application import application
from prometheus_client.parser import text_string_to_metric_families
from typer.testing import CliRunner

from tests.end_to_end.job_story import MODEL, JobStory, submit
from tests.end_to_end.listening_server import ListeningServer
from tests.end_to_end.poll import poll_until
from tests.end_to_end.rows import make_rows
from tests.otlp_collector import Collector, Span, facts, otlp_collector
from tests.processes import Service

pytestmark = pytest.mark.timeout(60)

ROWS = 200
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]
CALLER = f"00-{TRACE}-00f067aa0ba902b7-01"


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    with otlp_collector() as collector:
        yield collector


@pytest.fixture(scope="module")
def server() -> Iterator[ListeningServer]:
    with ListeningServer() as server:
        yield server


@pytest.fixture(scope="module")
def service(serve: Callable[..., Service], server: ListeningServer, collector: Collector) -> Service:
    return serve(server.url, settings=f'metrics_port = 0\notlp_endpoint = "{collector.endpoint}"\n')


def create_traced(service: Service, client: Client, traceparent: str, tag: str) -> JobStory:
    """Create a job as a caller with a trace of its own does, and watch it."""
    dataset = client.wait_for_dataset(client.upload_dataset(make_rows(tag, ROWS)))
    config = ServerConfig(base_model=MODEL)
    request = pb.CreateJobRequest(dataset=dataset.dataset_id, server_config=config.to_proto())
    with grpc.insecure_channel(service.target) as channel:
        stub = batch_inference_pb2_grpc.BatchInferenceStub(channel)
        created = stub.CreateJob(request, metadata=(("traceparent", traceparent),), timeout=10)
    return JobStory(client, created.job.job_id)


def spans_of(collector: Collector, trace: str) -> dict[str, list[Span]]:
    """Return the spans of one trace by name."""
    found: dict[str, list[Span]] = {}
    for span in collector.spans:
        if span.trace_id.hex() == trace:
            found.setdefault(span.name, []).append(span)
    return found


def test_a_job_is_one_trace_from_the_caller_to_the_server(
    service: Service, client: Client, server: ListeningServer, collector: Collector
) -> None:
    story = create_traced(service, client, CALLER, "traced")
    assert story.finish().state is JobState.SUCCEEDED
    collector.wait_until(lambda: "job" in spans_of(collector, TRACE))
    spans = spans_of(collector, TRACE)
    # One row a second is told, whosever it is: this job may have had none.
    assert set(spans) | {"row"} == {"job", "ingest", "plan", "chunk", "row", "commit", "finalise"}
    assert collector.named("row")
    (job,) = spans["job"]
    assert job.parent_span_id.hex() == "00f067aa0ba902b7"
    assert facts(job) == {
        "job_id": story.job_id, "tenant": "default", "model": MODEL, "state": "SUCCEEDED", "rows": ROWS, "failed": 0,
    }  # fmt: skip
    for name in ("ingest", "plan", "chunk", "commit", "finalise"):
        assert {span.parent_span_id for span in spans[name]} == {job.span_id}, name
    chunks = {span.span_id for span in spans["chunk"]}
    assert {span.parent_span_id for span in spans.get("row", [])} <= chunks
    for each in (span for named in spans.values() for span in named):
        assert each.start_time_unix_nano <= each.end_time_unix_nano
    # The server goes on with the chunk's span: its own are inside of it.
    assert {trace.split("-")[1] for trace in server.traces[-ROWS:]} == {TRACE}
    assert {bytes.fromhex(trace.split("-")[2]) for trace in server.traces[-ROWS:]} <= chunks
    assert collector.resources[0]["service.name"] == "lorax-batch"


def test_a_caller_that_does_not_sample_is_heeded_and_still_passed_on(
    service: Service, client: Client, server: ListeningServer, collector: Collector
) -> None:
    trace = "5" * 32
    header = f"00-{trace}-00f067aa0ba902b7-00"
    story = create_traced(service, client, header, "unsampled")
    assert story.finish().state is JobState.SUCCEEDED
    assert set(server.traces[-ROWS:]) == {header}
    assert spans_of(collector, trace) == {}


def test_a_job_without_a_caller_trace_has_one_of_its_own(client: Client, collector: Collector) -> None:
    story = submit(client, make_rows("own", ROWS))
    assert story.finish().state is JobState.SUCCEEDED

    def own() -> list[Span]:
        return [span for span in collector.named("job") if facts(span)["job_id"] == story.job_id]

    collector.wait_until(lambda: bool(own()))
    assert not own()[0].parent_span_id


def test_all_that_makes_work_is_told_inside_its_callers_span(
    service: Service, client: Client, collector: Collector
) -> None:
    def traced(digit: str) -> tuple[tuple[str, str]]:
        return (("traceparent", f"00-{digit * 32}-{digit * 16}-01"),)

    def wait_for(name: str, digit: str) -> Span:
        collector.wait_until(lambda: name in spans_of(collector, digit * 32))
        (span,) = spans_of(collector, digit * 32)[name]
        assert span.parent_span_id.hex() == digit * 16
        return span

    lines = [json.dumps(row).encode() + b"\n" for row in make_rows("work", 2)]
    upload = [
        datasets_pb.UploadDatasetRequest(start=datasets_pb.UploadStart(name="traced")),
        datasets_pb.UploadDatasetRequest(data=b"".join(lines)),
        datasets_pb.UploadDatasetRequest(finish=datasets_pb.UploadFinish()),
    ]
    with grpc.insecure_channel(service.target) as channel:
        datasets = datasets_pb2_grpc.DatasetsStub(channel)
        made = datasets.UploadDataset(iter(upload), metadata=traced("6"), timeout=10).dataset
        ingested = facts(wait_for("ingest", "6"))
        assert (ingested["dataset_id"], ingested["tenant"]) == (made.dataset_id, "default")
        # No server runs this model: all rows are cancelled.
        job = client.create_job(client.wait_for_dataset(made.dataset_id), ServerConfig(base_model="llama-2-7b"))
        client.cancel_job(job.job_id)
        JobStory(client, job.job_id).finish()
        jobs = batch_inference_pb2_grpc.BatchInferenceStub(channel)
        again = jobs.RetryJob(pb.RetryJobRequest(job_id=job.job_id), metadata=traced("7"), timeout=10).job
        client.cancel_job(again.job_id)
        assert facts(wait_for("job", "7"))["job_id"] == again.job_id


def test_a_bad_traceparent_is_no_error(service: Service, client: Client) -> None:
    assert create_traced(service, client, "00-nonsense", "bad").finish().state is JobState.SUCCEEDED


def test_prometheus_is_told_what_a_job_did(service: Service, client: Client) -> None:
    before = scrape(service)
    assert submit(client, make_rows("metrics", ROWS)).finish().state is JobState.SUCCEEDED
    now = scrape(service)

    def grown(name: str, **labels: str) -> float:
        key = (name, frozenset(labels.items()))
        return now[key] - before.get(key, 0.0)

    assert grown("lorax_batch_rows_total", outcome="succeeded") == ROWS
    assert grown("lorax_batch_tokens_total", kind="completion") == ROWS
    assert grown("lorax_batch_commit_seconds_count") >= 1
    assert grown("lorax_batch_ingested_rows_total") == ROWS
    assert grown("lorax_batch_ingested_datasets_total", outcome="ready") == 1
    assert grown("lorax_batch_object_store_seconds_count", operation="get", outcome="ok") >= 1
    assert now["lorax_batch_database_up", frozenset()] == 1
    poll_until(lambda: slot_states(scrape(service)), lambda states: states == {"ready"})
    assert all("job_" not in value for _, labels in now for _, value in labels)


def test_the_doctor_finds_a_running_service_well(service: Service) -> None:
    result = CliRunner().invoke(application, ["doctor", "--json", "--data-dir", str(service.directory / "data")])
    found = {finding["check"]: finding for finding in map(json.loads, result.stdout.splitlines())}
    assert {check: each for check, each in found.items() if each["verdict"] == "error"} == {}
    assert result.exit_code == 0
    assert found["database schema"]["verdict"] == "ok"
    assert found["object store"]["message"] == "an object was written, read and deleted"


def slot_states(samples: Samples) -> set[str]:
    """Return the states that some slot is in."""
    return {
        dict(labels)["state"] for (name, labels), value in samples.items() if name == "lorax_batch_slot_state" and value
    }


def scrape(service: Service) -> Samples:
    """Return every sample by name and labels."""
    events = [json.loads(line) for line in service.log.read_text().splitlines() if line.startswith("{")]
    port = next(event["port"] for event in events if event["event"] == "metrics_listening")
    with urllib.request.urlopen(f"http://localhost:{port}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
