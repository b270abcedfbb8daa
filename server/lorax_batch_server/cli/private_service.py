"""A service of one's own, as a child on a unix socket that nobody else knows."""

import contextlib
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

from lorax_batch_server.cli.child import ChildProcess
from lorax_batch_server.cli.exit_code import ExitCode
from lorax_batch_server.cli.reporting_group import CommandError

if TYPE_CHECKING:
    from lorax_batch_client import Client

# The first start makes a PostgreSQL cluster; a start after a crash replays its log.
START_SECONDS: Final = 120.0


@contextlib.contextmanager
def private_service(data_dir: Path, servers: list[str]) -> Iterator["Client"]:
    """Start a service over `data_dir`, yield a client of it, and stop it at the end.

    The socket is in a directory of its own: the path of a unix socket may have only about 100 characters.
    """
    from lorax_batch_server.cli.options import open_client

    data_dir.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="lorax-batch-") as socket_dir:
        target = f"unix:{socket_dir}/service.sock"
        arguments = ["serve", "--listen", target, "--data-dir", str(data_dir)]
        arguments += [argument for server in servers for argument in ("--server", server)]
        log = data_dir / "service.log"
        with ChildProcess("lorax_batch_server", arguments, log) as child:
            _wait_until_ready(child, target, log)
            with open_client(target) as client:
                yield client


def _wait_until_ready(child: ChildProcess, target: str, log: Path) -> None:
    import grpc
    from lorax_batch_client.channel import channel_options

    deadline = time.monotonic() + START_SECONDS
    with grpc.insecure_channel(target, channel_options(target)) as channel:
        ready = grpc.channel_ready_future(channel)
        while time.monotonic() < deadline:
            child.check()
            try:
                ready.result(timeout=0.1)
            except grpc.FutureTimeoutError:
                continue
            return
        ready.cancel()
    raise CommandError(f"the service was not ready within {START_SECONDS:.0f} s; see {log}", ExitCode.FAILED)
