"""What every test may ask for."""

import os
import signal

# As the command line does, before gRPC is imported: its fork handlers can hang a process that starts children.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell starts its background jobs so; what tests interrupt would inherit it and go on.
    signal.signal(signal.SIGINT, signal.default_int_handler)

from collections.abc import Iterator

import pytest
import structlog
from hypothesis import HealthCheck, settings

# The same examples in every run, so that nothing fails by chance; HYPOTHESIS_PROFILE=long looks further, at random.
settings.register_profile(
    "ci", derandomize=True, database=None, deadline=None, max_examples=100, suppress_health_check=list(HealthCheck)
)
settings.register_profile(
    "long", deadline=None, max_examples=5_000, stateful_step_count=100, suppress_health_check=list(HealthCheck)
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


@pytest.fixture(autouse=True)
def _plain_log() -> Iterator[None]:
    """Let no test write its log to where an earlier one has sent it: a command that runs in the test's own process."""
    yield
    if structlog.is_configured():
        structlog.reset_defaults()


pytest_plugins = ["tests.postgres_fixtures", "tests.s3_fixtures"]
