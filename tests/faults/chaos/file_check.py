"""The files of an ended job against its dataset: every line once, every answer its row's own, every sum right."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, Final

from lorax_batch_client import Job, JobState

from tests.end_to_end.result_files import tokens_of
from tests.faults.chaos.findings import Findings
from tests.faults.chaos.job_plan import ExpectedLine, Outcome

NEVER_RUN: Final = {
    JobState.CANCELLED: "batch_cancelled",
    JobState.EXPIRED: "batch_expired",
    JobState.FAILED: "batch_failed",
}
"""The code of the rows that had not ended when the job was ended."""
REFUSED_CODE: Final = "template_error"
INVALID_CODE: Final = "invalid_json_line"
BY_FAULTS: Final = frozenset(
    {"generation", "connection_lost", "out_of_memory", "server_error", "row_timed_out", "adapter_unreachable"}
)
"""Codes of rows that met too many faults of servers; told apart in the report, since the row had its chances."""


class FileCheck:
    """Checks the two files of one job; `codes` counts the codes of the error file."""

    def __init__(self, job: Job, lines: Mapping[int, ExpectedLine], findings: Findings) -> None:
        self._job = job
        self._lines = lines
        self._findings = findings
        self.codes: Counter[str] = Counter()
        self.failed_lines: set[int] = set()
        """Lines of the error file that a retry runs again."""
        self.answered_keys: set[str] = set()
        """What the servers call the rows of the output file: each must have answered one of them."""

    def check(self, output: Iterable[bytes], errors: Iterable[bytes]) -> None:
        """Check all lines and sums; every violation is a finding."""
        results, failures = self._read(output, "output"), self._read(errors, "error")
        self._check_complete(results, failures)
        for line, result in results:
            self._check_answer(line, result)
        for line, failure in failures:
            self._check_failure(line, failure)
        self._check_sums(results, failures)

    def _add(self, text: str) -> None:
        self._findings.add(f"{self._job.job_id} ({self._job.state.name}): {text}")

    def _read(self, texts: Iterable[bytes], name: str) -> list[tuple[int, dict[str, Any]]]:
        lines = []
        for text in texts:
            try:
                result = json.loads(text)
                prefix, _, number = result["id"].rpartition("_")
                line = int(number)
            except (ValueError, KeyError, TypeError) as error:
                self._add(f"a line of the {name} file can't be read ({error}): {text[:200]!r}")
                continue
            if prefix != f"batch_req_{self._job.job_id}":
                self._add(f"a line of another job is in the {name} file: {result['id']}")
            lines.append((line, result))
        return lines

    def _check_complete(self, *files: list[tuple[int, dict[str, Any]]]) -> None:
        found = Counter(line for file in files for line, _ in file)
        lost = self._lines.keys() - found.keys()
        doubled = {line: count for line, count in found.items() if count > 1}
        strange = found.keys() - self._lines.keys()
        if lost:
            self._findings.lost += len(lost)
            self._add(f"{len(lost)} lines are lost: {sorted(lost)[:10]}")
        if doubled:
            self._findings.doubled += sum(doubled.values()) - len(doubled)
            self._add(f"{len(doubled)} lines are there more than once: {sorted(doubled)[:10]}")
        if strange:
            self._add(f"{len(strange)} lines were never asked for: {sorted(strange)[:10]}")

    def _check_answer(self, line: int, result: dict[str, Any]) -> None:
        expected = self._lines.get(line)
        if expected is None:
            return
        if result["custom_id"] != expected.custom_id:
            self._add(f"line {line} is told as {result['custom_id']!r}, it is {expected.custom_id!r}")
        if expected.outcome is not Outcome.ANSWERED:
            self._add(f"line {line} is {expected.outcome} and has an answer")
            return
        self.answered_keys.add(expected.key)
        if result["error"] is not None or result["response"]["status_code"] != 200:
            self._add(f"line {line} of the output file is no success: {result}")
        else:
            text = result["response"]["body"]["choices"][0]["message"]["content"]
            if not text.startswith(expected.text):
                self._add(f"line {line} has the answer of another row: {text[:90]!r}, not {expected.text!r}")

    def _check_failure(self, line: int, failure: dict[str, Any]) -> None:
        code = failure["error"]["code"]
        self.codes[code] += 1
        expected = self._lines.get(line)
        if expected is None:
            return
        if expected.outcome is not Outcome.INVALID:
            self.failed_lines.add(line)
            if failure["custom_id"] != expected.custom_id:
                self._add(f"line {line} is told as {failure['custom_id']!r}, it is {expected.custom_id!r}")
        own = {Outcome.INVALID: INVALID_CODE, Outcome.REFUSED: REFUSED_CODE}.get(expected.outcome)
        allowed = {own} if expected.outcome is Outcome.INVALID else {own, NEVER_RUN.get(self._job.state)}
        if code not in allowed and not (own is None and code in BY_FAULTS):
            self._add(f"line {line} ({expected.outcome}) has failed: {failure['error']}")

    def _check_sums(self, output: list[tuple[int, dict[str, Any]]], errors: list[tuple[int, dict[str, Any]]]) -> None:
        counts, usage = self._job.counts, self._job.usage
        not_run = counts.failed + counts.cancelled + counts.expired + counts.invalid
        if (len(output), len(errors)) != (counts.succeeded, not_run) or counts.total != len(self._lines):
            self._add(f"{len(output)} and {len(errors)} lines of {len(self._lines)}, but {counts}")
        if counts.ended != counts.total:
            self._add(f"it has ended without all its rows: {counts}")
        used = [tokens_of(result["response"]["body"]) for _, result in output if result["response"]]
        sums = tuple(sum(tokens) for tokens in zip(*used, strict=True)) if used else (0, 0)
        if (usage.prompt_tokens, usage.completion_tokens) != sums:
            self._add(f"its usage is {usage}, the sum over its rows {sums}")
        for file, lines in ((self._job.output_file, output), (self._job.error_file, errors)):
            if file is None or file.row_count != len(lines):
                self._add(f"{file} has {len(lines)} lines")
