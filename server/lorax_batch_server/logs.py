"""Sets up the log: lines for people at a terminal, JSON for machines."""

import logging
import sys
from collections.abc import MutableMapping
from typing import Any, Final, TextIO

import structlog

from lorax_batch_server.printable import printable
from lorax_batch_server.redacted_output import redact_entry, redact_line

LEVELS: Final = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}

# Without local variables: they hold tokens and rows.
_TRACEBACKS: Final = structlog.processors.ExceptionRenderer(
    structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
)


def set_up_logs(*, level: str, log_format: str, stream: TextIO | None = None) -> None:
    """Send structlog's events, and what libraries log, to a stream (stderr).

    `log_format` is `json`, `text` or `auto`: text when the stream is a terminal.
    """
    stream = stream or sys.stderr
    text = log_format == "text" or (log_format == "auto" and stream.isatty())
    number = LEVELS[level]
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    last: list[Any] = (
        # Not rich's tracebacks, which show local variables.
        [
            _without_controls,
            structlog.dev.ConsoleRenderer(colors=stream.isatty(), exception_formatter=structlog.dev.plain_traceback),
            redact_line,
        ]
        if text
        else [_TRACEBACKS, redact_entry, structlog.processors.JSONRenderer()]
    )
    structlog.configure(
        processors=[*shared, *last],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.WriteLoggerFactory(file=stream),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
        )
    )
    # Libraries only speak up when something is wrong.
    logging.basicConfig(handlers=[handler], level=max(number, logging.WARNING), force=True)


def _without_controls(logger: Any, name: str, entry: MutableMapping[str, Any]) -> MutableMapping[str, Any]:  # noqa: ANN401  # of structlog
    """Escape what a terminal would obey: callers name things, and servers say what they like."""
    return {key: printable(value) if isinstance(value, str) else value for key, value in entry.items()}
