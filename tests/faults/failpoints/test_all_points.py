"""Every failpoint of the service is one that it is killed at."""

# All failpoints are known once these are imported: what wires the service, and what its child process runs.
import lorax_batch_scheduler.ingest.engine  # noqa: F401
import lorax_batch_server.app  # noqa: F401
from lorax_batch_scheduler.failpoints import KNOWN

from tests.faults import test_planning_turns
from tests.faults.failpoints import (
    test_calls,
    test_ending,
    test_export,
    test_retention,
    test_running,
    test_upload,
    test_webhooks,
)

MODULES = (
    test_upload,
    test_running,
    test_ending,
    test_calls,
    test_export,
    test_planning_turns,
    test_webhooks,
    test_retention,
)

ELSEWHERE = {"secrets.after_batch"}
"""`lorax-batch secrets rotate` dies there, beside a service: tests/end_to_end/test_secret_keys.py."""


def test_no_failpoint_is_left_out() -> None:
    """Whoever names a moment also writes what happens to a service that dies there."""
    tested = {point.partition("@")[0] for module in MODULES for point in module.POINTS}
    assert KNOWN.keys() == tested | ELSEWHERE
