"""Reads and writes trace files; every error names the field that is wrong, and nothing is used of a file with one."""

import json
import math
from operator import attrgetter
from pathlib import Path
from typing import Any, Final

import msgspec

from lorax_batch_scheduler.errors import InvalidInputError
from lorax_batch_scheduler.replay.trace import VERSION, Failure, Trace
from lorax_batch_scheduler.replay.trace_check import check_trace
from lorax_batch_scheduler.replay.trace_field import field_error

MAX_BYTES: Final = 256 << 20
MAX_DIGITS: Final = 4_000
"""More, and Python would not read it."""


def load_trace(path: Path | str) -> Trace:
    """Read a trace file. Raises `InvalidInputError` naming the field that is wrong."""
    try:
        with Path(path).open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise InvalidInputError("trace", f"'{path}' can't be read: {error.strerror or error}") from error
    return parse_trace(data)


def parse_trace(data: bytes) -> Trace:
    """Read a trace. Raises `InvalidInputError` naming the field that is wrong."""
    if len(data) > MAX_BYTES:
        limit = f"{MAX_BYTES >> 20} MiB"
        raise InvalidInputError("trace", f"has more than {limit}: group rows that are alike, or give 'drawn' ones")
    tree = _parse_json(data)
    _check_text(data, tree)
    if not isinstance(tree, dict):
        raise InvalidInputError("trace", "must be a JSON object")
    _check_version(tree)
    if b"NaN" in data or b"Infinity" in data:
        _check_numbers(tree)
    try:
        trace = msgspec.convert(tree, Trace)
    except msgspec.ValidationError as error:
        raise field_error(tree, error) from error
    check_trace(trace)
    return msgspec.structs.replace(trace, failures=_joined(trace.failures))


def dump_trace(trace: Trace) -> bytes:
    """Return a trace as a file has it, without what is as it is by default."""
    tree = _without_defaults(msgspec.to_builtins(trace), trace)
    return msgspec.json.format(msgspec.json.encode(tree), indent=1) + b"\n"


def _parse_json(data: bytes) -> Any:  # noqa: ANN401  # whatever the file holds
    try:
        return json.loads(data.decode("utf-8-sig"), object_pairs_hook=_unrepeated, parse_int=_int)
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise InvalidInputError("trace", f"is not JSON: {error.msg[:1].lower()}{error.msg[1:]} ({where})") from error
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise InvalidInputError("trace", f"is not UTF-8 (line {line}, byte {error.start + 1} of the file)") from error
    except RecursionError as error:
        raise InvalidInputError("trace", "is nested too deeply to be a trace") from error
    except ValueError as error:
        raise InvalidInputError("trace", f"is not JSON that can be read: {error}") from error


def _unrepeated(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        repeated = next(name for name in names if names.count(name) > 1)
        raise InvalidInputError("trace", f"an object has the field '{repeated}' twice: keep one of them")
    return found


def _int(digits: str) -> int:
    if len(digits) > MAX_DIGITS:
        raise InvalidInputError("trace", f"has a number of {len(digits):,} digits: {digits[:20]}...")
    return int(digits)


def _check_numbers(value: object, path: str = "trace") -> None:
    """Python's reader takes NaN and Infinity, which are no JSON, and for which no limit holds."""
    if isinstance(value, float) and not math.isfinite(value):
        raise InvalidInputError(path, f"{json.dumps(value)} is wrong: must be a number that is finite")
    if isinstance(value, dict):
        for name, part in value.items():
            _check_numbers(part, f"{path}.{name}")
    elif isinstance(value, list):
        for index, part in enumerate(value):
            _check_numbers(part, f"{path}[{index}]")


def _check_text(data: bytes, tree: object) -> None:
    """Half of a surrogate pair can be escaped in JSON, but is no character that could be written again."""
    if b"\\ud" not in data.lower():
        return
    try:
        json.dumps(tree, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        half = f"\\u{ord(error.object[error.start]):04x}"
        raise InvalidInputError("trace", f"has {half} without the other half of its pair: no character") from error


def _check_version(tree: dict[str, Any]) -> None:
    """Before everything else: fields of another version are not ours to judge."""
    if "version" not in tree:
        raise InvalidInputError("trace.version", f"is missing: this is version {VERSION}")
    version = tree["version"]
    if type(version) is not int or version != VERSION:
        shown = json.dumps(version)[:60]
        raise InvalidInputError("trace.version", f"{shown} is not the version that is known here, {VERSION}")


def _joined(failures: list[Failure]) -> list[Failure]:
    """Return the failures by time, those of one slot that overlap as one."""
    joined: list[Failure] = []
    for slot in dict.fromkeys(failure.slot for failure in failures):
        begin = end = None
        for failure in sorted((one for one in failures if one.slot == slot), key=attrgetter("time_s")):
            if begin is None or end is None or failure.time_s > end:
                if begin is not None and end is not None:
                    joined.append(Failure(slot=slot, time_s=begin, duration_s=end - begin))
                begin, end = failure.time_s, failure.time_s + failure.duration_s
            else:
                end = max(end, failure.time_s + failure.duration_s)
        if begin is not None and end is not None:
            joined.append(Failure(slot=slot, time_s=begin, duration_s=end - begin))
    return sorted(joined, key=attrgetter("time_s"))


def _without_defaults(tree: Any, value: Any) -> Any:  # noqa: ANN401  # any part of a trace
    if isinstance(value, msgspec.Struct):
        kept = {}
        for field in msgspec.structs.fields(value):
            default = field.default_factory() if callable(field.default_factory) else field.default
            part = getattr(value, field.name)
            if part != default:
                kept[field.name] = _without_defaults(tree[field.name], part)
        return kept
    if isinstance(value, list):
        return [_without_defaults(one, part) for one, part in zip(tree, value, strict=True)]
    if isinstance(value, dict):
        return {name: _without_defaults(tree[name], part) for name, part in value.items()}
    return tree
