"""Segments: offsets without gap or overlap, lines that are told apart, tokens that add up."""

from collections.abc import Iterator

import msgspec
from lorax_batch_scheduler.scheduling.finaliser import UNKNOWN_LINE
from lorax_batch_scheduler.segment import decode_segment

from tests.invariants.job_rows import UNSUCCESSFUL
from tests.invariants.snapshot import Row, Snapshot, by


class Usage(msgspec.Struct):
    """What an answer tells of its tokens, in either of LoRAX's forms."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    generated_tokens: int = 0


class Body(msgspec.Struct):
    """An answer, as far as it tells of its tokens."""

    usage: Usage | None = None
    details: Usage | None = None


class Response(msgspec.Struct):
    """The answer within a result line."""

    body: msgspec.Raw


class ResultLine(msgspec.Struct):
    """A line of the output or the error file."""

    id: str
    response: Response | None
    error: dict[str, str] | None


_decode_line = msgspec.json.Decoder(ResultLine).decode
_decode_body = msgspec.json.Decoder(Body).decode


class Told:
    """What the lines of a job tell, added up."""

    def __init__(self) -> None:
        self.lines: set[int] = set()
        self.prompt_tokens = 0
        self.completion_tokens = 0
        self.silent = 0
        """Answers that do not tell their tokens: the job's are more than the sum then."""

    def add_usage(self, response: Response | None) -> None:
        """Count the tokens of a row that succeeded."""
        try:
            body = _decode_body(response.body if response else b"{}")
        except msgspec.ValidationError:
            body = Body()  # a list of embeddings, or what else LoRAX answers without tokens
        usage = body.usage or body.details
        if usage is None:
            self.silent += 1
        else:
            self.prompt_tokens += usage.prompt_tokens
            self.completion_tokens += usage.completion_tokens + usage.generated_tokens


def offset_problems(snapshot: Snapshot) -> Iterator[str]:
    """Check what can be seen without looking into segments."""
    segments, ranges = by(snapshot.segments, "job_id"), by(snapshot.file_ranges, "job_id")
    for job in snapshot.jobs:
        own_segments, own_ranges = segments[job["job_id"]], ranges[job["job_id"]]
        if job["results_in"] in ("BOTH", "FILES"):
            yield from _offsets(job, own_ranges)
            yield from _file_offsets(job, own_ranges)
        else:
            yield from _offsets(job, own_segments)
        if own_segments and job["results_in"] == "FILES":
            yield f"job {job['job_id']} has its results in its files, but {len(own_segments)} segments are left"
        if own_ranges and job["results_in"] in ("SEGMENTS", "KEPT"):
            yield f"job {job['job_id']} has its results in segments, but {len(own_ranges)} ranges of its files"


def text_problems(snapshot: Snapshot) -> Iterator[str]:
    """Check what segments hold."""
    segments = by(snapshot.segments, "job_id")
    for job in snapshot.jobs:
        if job["results_in"] in ("BOTH", "FILES"):
            continue  # the text is in its files
        told = Told()
        for segment in segments[job["job_id"]]:
            yield from _content(job, segment, told)
        yield from _usage(job, told)


def _offsets(job: Row, segments: list[Row]) -> Iterator[str]:
    name, end = f"job {job['job_id']} ({job['state']})", 0
    for segment in segments:
        if segment["first_offset"] != end:
            yield f"{name} has a segment at offset {segment['first_offset']} behind one that ends at {end}"
        end = segment["first_offset"] + segment["row_count"]
    if end != job["result_count"]:
        yield f"{name} has {job['result_count']} results, but its segments end at offset {end}"
    errors = sum(segment["row_count"] for segment in segments if segment["error"])
    unsuccessful = sum(job[column] for column in UNSUCCESSFUL)
    if errors != unsuccessful:
        yield f"{name} counts {unsuccessful} rows without success, but its segments hold {errors} error lines"


def _file_offsets(job: Row, ranges: list[Row]) -> Iterator[str]:
    for column, error in (("output_file", False), ("error_file", True)):
        end = 0
        for each in ranges:
            if each["error"] == error:
                if each["file_offset"] != end:
                    yield f"{column} of job {job['job_id']} has a range at byte {each['file_offset']} behind {end}"
                end = each["file_offset"] + each["byte_count"]
        if end != job[column]["byte_count"]:
            yield f"{column} of job {job['job_id']} has {job[column]['byte_count']} bytes, but ranges for {end}"


def _content(job: Row, segment: Row, told: Told) -> Iterator[str]:
    name = f"segment {segment['first_offset']} of job {job['job_id']}"
    decoded = decode_segment(segment["blob"])
    numbers, texts = decoded.lines, decoded.text.splitlines()
    if not len(numbers) == len(texts) == segment["row_count"] or len(decoded.text) != segment["byte_count"]:
        yield (
            f"{name} says {segment['row_count']} rows in {segment['byte_count']} bytes, but has {len(numbers)} line "
            f"numbers and {len(texts)} lines in {len(decoded.text)} bytes"
        )
    first, last = min(numbers), max(numbers)
    if (first, last) != (segment["first_line"], segment["last_line"]):
        yield f"{name} says lines {segment['first_line']} to {segment['last_line']}, not {first} to {last}"
    known = [number for number in numbers if number != UNKNOWN_LINE]
    twice = told.lines.intersection(known) or len(known) - len(set(known))
    if twice:
        yield f"{name} repeats lines that have their result already: {twice}"
    told.lines.update(known)
    for number, text in zip(numbers, texts, strict=False):
        line = _decode_line(text)
        if line.id != f"batch_req_{job['job_id']}_{number}":
            yield f"{name} has the text of {line.id} for line {number}"
        if (line.error is not None) != segment["error"]:
            yield f"{name} is of {'errors' if segment['error'] else 'answers'}, but line {number} is not"
        if not segment["error"]:
            told.add_usage(line.response)


def _usage(job: Row, told: Told) -> Iterator[str]:
    for column in ("prompt_tokens", "completion_tokens"):
        used, sums = job[column], getattr(told, column)
        if used < sums or (used > sums and not told.silent):
            yield f"job {job['job_id']} used {used} {column}, but its rows tell of {sums}"
