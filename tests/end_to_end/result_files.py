"""The two files of an ended job, checked line by line."""

import json
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from lorax_batch_client import Client, Job

PRICE_PER_TOKEN = Decimal("0.50") / 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultFiles:
    """The lines of an ended job by their line of the dataset."""

    output: dict[int, dict[str, Any]]
    errors: dict[int, dict[str, Any]]

    @property
    def codes(self) -> Counter[str]:
        """How often each error is there."""
        return Counter(line["error"]["code"] for line in self.errors.values())

    def custom_ids(self, code: str) -> set[str]:
        """Return the rows that have that error."""
        return {line["custom_id"] for line in self.errors.values() if line["error"]["code"] == code}


def download_files(client: Client, job: Job, folder: Path, *, silent: Collection[int] = frozenset()) -> ResultFiles:
    """Download both files and check what holds of every ended job: each row on exactly one line, sums that agree.

    `silent` are the lines whose answers do not tell their tokens.
    """
    output, errors = folder / f"{job.job_id}-output.jsonl", folder / f"{job.job_id}-errors.jsonl"
    client.download(job, output, errors=errors)
    files = ResultFiles(output=_by_line(job, output), errors=_by_line(job, errors))
    counts = job.counts
    assert not files.output.keys() & files.errors.keys()
    assert len(files.output) == counts.succeeded
    assert len(files.errors) == counts.failed + counts.cancelled + counts.expired + counts.invalid
    assert counts.total == len(files.output) + len(files.errors)
    for line in files.output.values():
        assert line["error"] is None
        assert line["response"]["status_code"] == 200
    _check_usage(job, files, silent)
    return files


def check_all_rows(files: ResultFiles, rows: list[dict[str, Any]]) -> None:
    """Check that the files hold exactly these rows, each at its line."""
    both = files.output | files.errors
    assert {line: result["custom_id"] for line, result in both.items()} == {
        line: row["custom_id"] for line, row in enumerate(rows, 1)
    }


def _by_line(job: Job, path: Path) -> dict[int, dict[str, Any]]:
    results = [json.loads(line) for line in path.read_bytes().splitlines()]
    by_line = {}
    for result in results:
        prefix, _, line = result["id"].rpartition("_")
        assert prefix == f"batch_req_{job.job_id}"
        by_line[int(line)] = result
    assert len(by_line) == len(results), "a row stands there twice"
    return by_line


def _check_usage(job: Job, files: ResultFiles, silent: Collection[int]) -> None:
    used = [tokens_of(result["response"]["body"]) for line, result in files.output.items() if line not in silent]
    prompt, completion = (sum(tokens) for tokens in zip(*used, strict=True)) if used else (0, 0)
    if silent:
        assert job.usage.prompt_tokens > prompt
        assert job.usage.completion_tokens > completion
    else:
        assert (job.usage.prompt_tokens, job.usage.completion_tokens) == (prompt, completion)
    assert job.usage.total_tokens == job.usage.prompt_tokens + job.usage.completion_tokens
    exact = job.usage.total_tokens * PRICE_PER_TOKEN
    assert abs(job.cost.amount - exact) <= Decimal("0.0000005")
    assert job.cost.currency == "USD"


def tokens_of(body: Any) -> tuple[int, int]:
    """Return the prompt and completion tokens that an answer tells of."""
    if isinstance(body, dict) and "usage" in body:
        return body["usage"]["prompt_tokens"], body["usage"].get("completion_tokens", 0)
    return body["details"]["prompt_tokens"], body["details"]["generated_tokens"]
