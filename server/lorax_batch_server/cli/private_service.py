"""A service of one's own, as a child on a free port of the loopback."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

from lorax_batch_server.cli.child import ChildProcess
from lorax_batch_server.cli.options import open_client
from lorax_batch_server.cli.serve import READY_PREFIX

if TYPE_CHECKING:
    from lorax_batch_client import Client

# The first start makes a PostgreSQL cluster; a start after a crash replays its log.
START_SECONDS: Final = 120.0


@contextlib.contextmanager
def private_service(data_dir: Path, servers: list[str]) -> Iterator["Client"]:
    """Start a service over `data_dir`, yield a client of it, and stop it at the end."""
    data_dir.mkdir(parents=True, exist_ok=True)
    arguments = ["serve", "--listen", "127.0.0.1:0", "--data-dir", str(data_dir), "--accept-unlisted-models"]
    arguments += [argument for server in servers for argument in ("--server", server)]
    with ChildProcess("lorax_batch_server", arguments, data_dir / "service.log", has_output=True) as child:
        target = child.read_line(START_SECONDS).removeprefix(READY_PREFIX)
        with open_client(target) as client:
            yield client
