"""The log."""

import io
import json
import logging
from collections.abc import Iterator

import pytest
import structlog
from lorax_batch_server.logs import set_up_logs


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


def test_an_exception_is_part_of_its_object() -> None:
    stream = io.StringIO()
    set_up_logs(level="info", log_format="json", stream=stream)
    structlog.get_logger().error("call_failed", exc_info=ValueError("bad"))
    (entry,) = (json.loads(line) for line in stream.getvalue().splitlines())
    assert entry["exception"][0]["exc_type"] == "ValueError"
