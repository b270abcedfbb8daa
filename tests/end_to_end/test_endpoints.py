"""Every endpoint that rows may name, with what they used and cost."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from lorax_batch_client import Client, JobState

from tests.end_to_end.job_story import submit
from tests.end_to_end.result_files import check_all_rows, download_files
from tests.end_to_end.rows import Row
from tests.processes import Service, Simulator

pytestmark = pytest.mark.timeout(60)

EMBEDDER = "example/embedder"


@pytest.fixture(scope="module")
def simulators() -> Iterator[list[Simulator]]:
    with (
        Simulator("--time-scale", "0.02") as text,
        Simulator("--time-scale", "0.02", "--task", "feature-extraction", "--model-id", EMBEDDER) as vectors,
    ):
        yield [text, vectors]


@pytest.fixture(scope="module")
def service(serve: Callable[..., Service], simulators: list[Simulator]) -> Service:
    return serve(*(simulator.url for simulator in simulators), settings="accept_unlisted_models = true")


def rows_of(url: str, body: Callable[[int], dict[str, Any]], first: int, count: int) -> list[Row]:
    return [
        {"custom_id": f"{url}-{number}", "method": "POST", "url": url, "body": body(number)}
        for number in range(first, first + count)
    ]


def test_text_endpoints_mix_in_one_job(client: Client, tmp_path: Path) -> None:
    def chat(number: int) -> dict[str, Any]:
        return {"model": "", "messages": [{"role": "user", "content": f"m#chat{number} hello"}], "max_tokens": 12}

    def completion(number: int) -> dict[str, Any]:
        return {"model": "org/a", "prompt": f"m#text{number} hello", "max_tokens": 12}

    def native(number: int) -> dict[str, Any]:
        return {"inputs": f"m#native{number} hello", "parameters": {"max_new_tokens": 12, "details": number % 2 == 0}}

    rows = [
        *rows_of("/v1/chat/completions", chat, 0, 40),
        *rows_of("/v1/completions", completion, 40, 40),
        *rows_of("/generate", native, 80, 40),
    ]
    job = submit(client, rows).finish()
    assert (job.state, job.counts.succeeded) == (JobState.SUCCEEDED, 120)
    # Usage is checked there against the answers, where they all tell it.
    plain = {
        line for line, row in enumerate(rows, 1) if not row["body"].get("parameters", {"details": True})["details"]
    }
    files = download_files(client, job, tmp_path, silent=plain)
    check_all_rows(files, rows)
    bodies = [files.output[line]["response"]["body"] for line in sorted(files.output)]
    # An answer repeats the end of its prompt, so it can be told whose it is.
    assert all(f"m#chat{n} hello" in bodies[n]["choices"][0]["message"]["content"] for n in range(40))
    assert all(f"m#text{n} hello" in bodies[n]["choices"][0]["text"] for n in range(40, 80))
    assert all(f"m#native{n} hello" in bodies[n]["generated_text"] for n in range(80, 120))


def test_embeddings(client: Client, tmp_path: Path) -> None:
    rows = rows_of("/v1/embeddings", lambda number: {"model": "", "input": f"m#vector{number} hello"}, 0, 60)
    job = submit(client, rows, base_model=EMBEDDER).finish()
    assert (job.state, job.counts.succeeded) == (JobState.SUCCEEDED, 60)
    files = download_files(client, job, tmp_path)
    check_all_rows(files, rows)
    assert job.usage.prompt_tokens > 0
    assert job.usage.completion_tokens == 0
    assert all(line["response"]["body"]["data"][0]["embedding"] for line in files.output.values())


def test_a_row_for_the_wrong_kind_of_model_fails_alone(client: Client, tmp_path: Path) -> None:
    rows = rows_of("/v1/embeddings", lambda number: {"model": "", "input": f"m#wrong{number} hello"}, 0, 5)
    job = submit(client, rows).finish()
    assert (job.state, job.counts.failed) == (JobState.SUCCEEDED, 5)
    check_all_rows(download_files(client, job, tmp_path), rows)
