"""The log."""

import io
import json
import logging
import sys
import threading
from collections.abc import Iterator

import pytest
import structlog
from lorax_batch_scheduler.redaction import BLOT, REDACTOR
from lorax_batch_server.logs import set_up_logs
from lorax_batch_server.redacted_output import redact_crashes


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    structlog.reset_defaults()
    root.handlers[:], root.level = handlers, level


def test_a_machine_reads_one_object_a_line() -> None:
    stream = io.StringIO()
    set_up_logs(level="info", log_format="auto", stream=stream)
    with structlog.contextvars.bound_contextvars(job_id="job_1"):
        structlog.get_logger().info("call", code="OK")
    structlog.get_logger().debug("quiet")
    logging.getLogger("asyncio").warning("slow")
    logging.getLogger("asyncio").info("quiet")
    first, second = (json.loads(line) for line in stream.getvalue().splitlines())
    assert (first["event"], first["job_id"], first["code"], first["level"]) == ("call", "job_1", "OK", "info")
    assert (second["event"], second["level"]) == ("slow", "warning")


def test_a_person_reads_text() -> None:
    stream = io.StringIO()
    set_up_logs(level="debug", log_format="text", stream=stream)
    structlog.get_logger().debug("call", code="OK")
    assert "call" in stream.getvalue()
    assert not stream.getvalue().startswith("{")


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_what_callers_name_forges_no_line_and_moves_no_cursor(log_format: str) -> None:
    stream = io.StringIO()
    set_up_logs(level="info", log_format=log_format, stream=stream)
    structlog.get_logger().info("call", model="org/\x1b[2J\x9b1m", job_id="x\nforged")
    (line,) = stream.getvalue().splitlines()
    assert line.isprintable()


def test_an_exception_is_part_of_its_object() -> None:
    stream = io.StringIO()
    set_up_logs(level="info", log_format="json", stream=stream)
    structlog.get_logger().error("call_failed", exc_info=ValueError("bad"))
    (entry,) = (json.loads(line) for line in stream.getvalue().splitlines())
    assert entry["exception"][0]["exc_type"] == "ValueError"


TOKEN = "planted-in-a-log-entry"


def fail_with(token: str) -> None:
    """Fail with a secret in a local variable and in the text."""
    raise ValueError(f"401 for {token}")


@pytest.mark.parametrize("log_format", ["json", "text"])
def test_no_secret_is_in_an_entry_nor_in_its_traceback(log_format: str) -> None:
    REDACTOR.remember(TOKEN)
    stream = io.StringIO()
    set_up_logs(level="info", log_format=log_format, stream=stream)
    log = structlog.get_logger()
    log.info(f"said {TOKEN}", job=TOKEN, given={"tokens": [TOKEN]}, error=ValueError(TOKEN), odd={TOKEN})
    logging.getLogger("library").error("it said %s", TOKEN)
    try:
        fail_with(TOKEN)
    except ValueError as error:
        log.error("call_failed", exc_info=error)
        logging.getLogger("library").exception("failed")
    assert TOKEN not in stream.getvalue()
    assert f"401 for {BLOT}" in stream.getvalue()
    if log_format == "json":
        entries = [json.loads(line) for line in stream.getvalue().splitlines()]
        assert entries[0]["given"] == {"tokens": [BLOT]}


def test_a_local_variable_is_in_no_traceback() -> None:
    stream = io.StringIO()
    set_up_logs(level="info", log_format="text", stream=stream)
    try:
        fail_with("".join(("never-", "remembered")))
    except ValueError as error:
        structlog.get_logger().error("call_failed", exc_info=error)
    assert "token = " not in stream.getvalue()
    assert "locals" not in stream.getvalue()


def test_no_secret_is_in_the_traceback_of_a_crash(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    REDACTOR.remember(TOKEN)
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)
    redact_crashes()
    try:
        fail_with(TOKEN)
    except ValueError as error:
        sys.excepthook(ValueError, error, error.__traceback__)
    thread = threading.Thread(target=fail_with, args=(TOKEN,))
    thread.start()
    thread.join()
    said = capsys.readouterr().err
    assert TOKEN not in said
    assert said.count(f"ValueError: 401 for {BLOT}") == 2
