"""What every test may ask for."""

import os

# As the command line does, before gRPC is imported: its fork handlers can hang a process that starts children.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")

pytest_plugins = ["tests.postgres_fixtures", "tests.s3_fixtures"]
