"""Text that trips databases, files and parsers, on its whole way through the service."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from lorax_batch_client import Client, JobState, OnInvalid
from lorax_batch_client.errors import InvalidRequestError, NotFoundError

from tests.end_to_end.job_story import MODEL, JobStory, submit
from tests.end_to_end.result_files import download_files
from tests.end_to_end.rows import make_row, make_rows
from tests.processes import Service, Simulator

pytestmark = pytest.mark.timeout(60)

ODD = [
    "nul\u0000x",
    "lone\ud800x",
    "line\nbreak\r",
    "line\u2028separator",
    "emoji \U0001f600",
    '"quoted\\"',
    "\u0007",
    " ",
]


@pytest.fixture(scope="module")
def simulator() -> Iterator[Simulator]:
    with Simulator("--time-scale", "0.02", "--fault", "plain-text-422=fails") as simulator:
        yield simulator


@pytest.fixture(scope="module")
def service(serve: Callable[..., Service], simulator: Simulator) -> Service:
    return serve(simulator.url)


@pytest.mark.parametrize("field", ["custom_id", "model", "content"])
@pytest.mark.parametrize("words", ["works", "fails"])
def test_odd_text_is_refused_at_ingest_or_comes_back_as_it_was(
    field: str, words: str, client: Client, tmp_path: Path
) -> None:
    rows = []
    for number, odd in enumerate(ODD):
        row = make_row(f"odd{field}{words}", number, words=words)
        if field == "custom_id":
            row["custom_id"] = f"{number}{odd}"
        elif field == "model":
            row["body"]["model"] = f"org/{number}{odd}"
        else:
            row["body"]["messages"][0]["content"] += odd
        rows.append(row)
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    dataset = client.wait_for_dataset(client.upload_dataset(path, on_invalid=OnInvalid.SKIP))
    assert dataset.row_count == len(ODD)
    job = JobStory(client, client.create_job(dataset, base_model=MODEL)).finish()
    assert job.state is JobState.SUCCEEDED
    files = download_files(client, job, tmp_path)
    both = files.output | files.errors
    assert both.keys() == set(range(1, len(ODD) + 1))
    for line, result in both.items():
        if line not in files.errors or files.errors[line]["response"] is not None:
            assert result["custom_id"] == rows[line - 1]["custom_id"]
    assert job.counts.invalid < len(ODD)


def test_a_nul_where_a_caller_names_things_is_the_callers_mistake(client: Client) -> None:
    dataset = client.upload_dataset(make_rows("nul", 5))
    job = client.create_job(dataset, base_model="llama-2-7b")
    calls: list[Callable[[], object]] = [
        lambda: client.cancel_job(job, reason="a\0b"),
        lambda: client.upload_dataset(make_rows("nul", 5), name="a\0b"),
        lambda: client.get_dataset("a\0b"),
        lambda: client.get_job("a\0b"),
        lambda: client.create_job(dataset, base_model="a\0b"),
        lambda: client.create_job(dataset, base_model=MODEL, labels={"key": "a\0b"}),
        lambda: client.create_job(dataset, base_model=MODEL, request_id="a\0b"),
        lambda: client.create_job(dataset, base_model=MODEL, hf_token="a\0b"),
        lambda: client.create_job(dataset, base_model=MODEL, custom_args=("a\0b",)),
        lambda: client.create_job(dataset, base_model=MODEL, adapter_source="a\0b"),
        lambda: client.update_job(job, labels={"key": "a\0b"}),
    ]
    for number, call in enumerate(calls):
        with pytest.raises((InvalidRequestError, NotFoundError)):
            print(number, call())
    client.cancel_job(job)


def test_a_job_whose_rows_are_gone_from_the_object_store_fails_and_says_so(
    client: Client, service: Service, tmp_path: Path
) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in make_rows("lost", 50)) + "not json\n", encoding="utf-8")
    dataset = client.wait_for_dataset(client.upload_dataset(path, on_invalid=OnInvalid.SKIP))
    packs = list((service.directory / "data" / "objects").rglob(f"*{dataset.dataset_id}*/**/pack-*"))
    assert packs
    for pack in packs:
        pack.unlink()
    job = JobStory(client, client.create_job(dataset, base_model=MODEL)).finish()
    assert job.state is JobState.FAILED
    assert "damaged" in job.reason
    assert job.counts.failed == job.counts.total == 51
    errors = tmp_path / "errors.jsonl"
    client.download(job, tmp_path / "output.jsonl", errors=errors)
    assert {json.loads(line)["error"]["code"] for line in errors.read_bytes().splitlines()} == {"dataset_damaged"}


def test_the_service_still_works_after_all_that(client: Client) -> None:
    assert submit(client, make_rows("after", 20)).finish().counts.succeeded == 20
