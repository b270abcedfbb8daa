"""Keeps secrets out of what the process writes: log entries, and the tracebacks of a crash."""

import sys
import threading
import traceback
from collections.abc import Iterable, Mapping, MutableMapping
from types import TracebackType
from typing import Any

from lorax_batch_scheduler.redaction import REDACTOR


def redact_entry(_logger: object, _method: str, entry: MutableMapping[str, Any]) -> Mapping[str, Any]:
    """Clean the values of a log entry (a structlog processor); errors among them count by their text."""
    return {key: REDACTOR.clean_value(_shown(value)) for key, value in entry.items()}


def redact_line(_logger: object, _method: str, line: str) -> str:
    """Clean a rendered entry (a structlog processor): tracebacks are part of it only by then."""
    return REDACTOR.clean(line)


def redact_crashes() -> None:
    """Let the traceback of an exception that nothing handles be cleaned before it is written."""

    def say(kind: type[BaseException], error: BaseException | None, trace: TracebackType | None) -> None:
        sys.stderr.write(REDACTOR.clean("".join(traceback.format_exception(kind, error, trace))))

    sys.excepthook = say
    threading.excepthook = lambda told: say(told.exc_type, told.exc_value, told.exc_traceback)


def _shown(value: Any) -> Any:  # noqa: ANN401  # what a log entry holds
    if isinstance(value, BaseException):
        return repr(value)
    if isinstance(value, set | frozenset) or (
        isinstance(value, Iterable) and not isinstance(value, str | bytes | Mapping)
    ):
        return list(value)
    return value
