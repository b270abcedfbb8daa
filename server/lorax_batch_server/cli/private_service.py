"""A service of one's own, as a child on a Unix socket that only this user can reach."""

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

from lorax_batch_server.cli.child import ChildProcess
from lorax_batch_server.cli.options import open_client

if TYPE_CHECKING:
    from lorax_batch_client import Client

# The first start makes a PostgreSQL cluster; a start after a crash replays its log.
START_SECONDS: Final = 120.0


@contextlib.contextmanager
def private_service(data_dir: Path, servers: list[str]) -> Iterator["Client"]:
    """Start a service over `data_dir`, yield a client of it, and stop it at the end."""
    data_dir.mkdir(parents=True, exist_ok=True)
    # Not in the data directory: the path of a Unix socket may have only 107 bytes.
    with tempfile.TemporaryDirectory(prefix="lorax-batch-") as socket_dir:
        target = f"unix:{socket_dir}/grpc.sock"
        arguments = ["serve", "--listen", target, "--data-dir", str(data_dir), "--accept-unlisted-models"]
        arguments += [argument for server in servers for argument in ("--server", server)]
        with ChildProcess("lorax_batch_server", arguments, data_dir / "service.log", has_output=True) as child:
            child.read_line(START_SECONDS)
            # With its `sleep`, the client goes on after a broken connection only while the service lives.
            with open_client(target, sleep=child.sleep) as client:
                yield client
