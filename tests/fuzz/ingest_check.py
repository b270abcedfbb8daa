"""What must hold of whatever ingest is fed, against readings of the file that share no code with it."""

import itertools
import json
import sys
import zlib
from collections import Counter
from pathlib import Path

from lorax_batch_scheduler.dataset import OnInvalid
from lorax_batch_scheduler.ingest.limits import IngestLimits

from tests.unit.ingest.lines_of import Run, sent_by

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

LIMITS = IngestLimits(max_decompressed_bytes=8 << 20)
FILE_CODES = {"empty_file", "corrupt_compression", "file_too_large"}
JSON_CODES = {"invalid_json_line", "invalid_utf8"}
MAX_PYTHON_DEPTH = 100
"""Deeper values may be refused as too deep."""
MAX_DIGITS = 300
"""Longer numbers may be refused as out of range."""


def check_file(scratch: Path, data: bytes, on_invalid: OnInvalid, block_sizes: tuple[int, ...]) -> Run:
    """Ingest a file in blocks of several sizes; check that all give the same, and that it is right."""
    runs = []
    for number, block_bytes in enumerate(block_sizes):
        folder = scratch / str(number)
        folder.mkdir()
        runs.append(Run(folder, data, limits=LIMITS, on_invalid=on_invalid, block_bytes=block_bytes))
    for other in runs[1:]:
        assert other.outcome == runs[0].outcome, f"blocks of {block_sizes} bytes give different datasets"
        assert other.told == runs[0].told
        assert (other.chunks, other.invalid) == (runs[0].chunks, runs[0].invalid)
    check_run(runs[0], data)
    return runs[0]


def check_run(run: Run, data: bytes) -> None:
    """Check that every line is accounted for once, that what is refused is bad and that what is taken came through."""
    summary = run.outcome.summary
    assert summary.byte_count == len(data)
    assert sum(run.codes.values()) == len(run.told) == summary.invalid.line_count
    for told in run.told:
        assert 0 < len(told.message) <= 1_200
        assert len(told.param) <= 200
        assert not any(ord(character) < 32 for character in told.message + told.param)
    plain = decompressed(data)
    if FILE_CODES & run.codes.keys():
        assert run.outcome.reason
        assert run.outcome.chunks == []
        assert plain is None or len(plain) > LIMITS.max_decompressed_bytes or not plain.removeprefix(BOM).strip(), plain
        return
    assert plain is not None
    lines = {
        number: line
        for number, line in enumerate(plain.removeprefix(BOM).split(b"\n"), start=1)
        if line.strip() or len(line) > LIMITS.max_line_bytes
    }
    assert summary.row_count == len(lines)
    refused = {told.line: told.code for told in run.told}
    if not run.outcome.reason:
        ended = Counter(run.valid_lines + run.invalid_lines)
        assert sorted(ended) == sorted(lines)
        assert set(ended.values()) <= {1}
        assert sorted(refused) == run.invalid_lines
        _check_rows(run, lines)
    for number, line in lines.items():
        _check_verdict(line, refused.get(number))


BOM = b"\xef\xbb\xbf"


def decompressed(data: bytes) -> bytes | None:
    """Return a file's plain bytes, read as a whole; None when it can't be."""
    plain = b""
    try:
        if data[:2] == b"\x1f\x8b":
            while rest := data.lstrip(b"\0"):
                member = zlib.decompressobj(wbits=31)
                plain += member.decompress(rest)
                data = member.unused_data
                if not member.eof:
                    return None
            return plain
        if data[:4] == b"\x28\xb5\x2f\xfd" or (data[1:4] == b"\x2a\x4d\x18" and data[0] >> 4 == 5):
            return zstd.decompress(data)
    except (zlib.error, zstd.ZstdError):
        return None
    return data


def _check_verdict(line: bytes, code: str | None) -> None:
    """Compare with Python's own JSON: what it can't read is refused as that, and what it can is not."""
    if code == "line_too_long":
        assert len(line) > LIMITS.max_line_bytes
        return
    try:
        line.decode()
    except UnicodeDecodeError:
        assert code == "invalid_utf8", line[:200]
        return
    try:
        value = json.loads(line.decode(), parse_constant=_not_json, parse_int=_number, parse_float=_number)
    except _OutOfRangeError:
        return
    except ValueError:
        assert code == "invalid_json_line", line[:200]
        return
    except RecursionError:
        assert code is not None
        return
    if not isinstance(value, dict):
        assert code == "invalid_json_line"
    elif _depth(line) <= MAX_PYTHON_DEPTH and not _has_surrogate(value):
        assert code not in JSON_CODES, line[:200]


class _OutOfRangeError(Exception):
    """A number that need not be read."""


def _not_json(constant: str) -> object:
    raise ValueError(constant)


def _number(digits: str) -> float:
    if len(digits) > MAX_DIGITS or float(digits) in (float("inf"), float("-inf")):
        raise _OutOfRangeError
    return float(digits) if any(character in digits for character in ".eE") else int(digits)


def _depth(line: bytes) -> int:
    """Return how deep a line is nested, or more where its strings hold brackets."""
    steps = ((byte in b"[{") - (byte in b"]}") for byte in line if byte in b"[]{}")
    return max(itertools.accumulate(steps), default=0)


def _has_surrogate(value: object) -> bool:
    return any(0xD800 <= ord(character) < 0xE000 for character in json.dumps(value, ensure_ascii=False))


def _check_rows(run: Run, lines: dict[int, bytes]) -> None:
    """Check that what is stored of each row is what its line says."""
    for chunk in run.chunks:
        for row, line_number in enumerate(chunk.lines):
            line = json.loads(lines[line_number])
            body = line["body"]
            assert json.loads(chunk.custom_ids[row]) == line["custom_id"]
            sent = sent_by(chunk, row)
            assert None not in sent.values()
            fields = body.get("parameters") or {} if "inputs" in body else body
            asked = next(
                (
                    fields[name]
                    for name in ("max_tokens", "max_completion_tokens", "max_new_tokens")
                    if fields.get(name)
                ),
                0,
            )
            assert chunk.max_tokens[row] == asked
            for name in ("inputs", "prompt", "input"):
                if name in body:
                    assert _texts(sent[name]) == _texts(body[name])
            if "messages" in body:
                assert [(message["role"], message["content"]) for message in sent["messages"]] == [
                    (message["role"], message["content"]) for message in body["messages"]
                ]


def _texts(value: object) -> list[object]:
    return value if isinstance(value, list) else [value]
